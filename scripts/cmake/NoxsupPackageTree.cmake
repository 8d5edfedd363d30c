# CPack runs this over the installed tree before it packs it: Debian's form of the documents, and modes that do
# not depend on the umask and the clone that it was built in.
if(NOT CPACK_TEMPORARY_DIRECTORY)
    message(FATAL_ERROR "CPack runs this")
endif()
set(tree ${CPACK_TEMPORARY_DIRECTORY}/usr)
set(documents ${tree}/share/doc/noxsup)
file(RENAME ${documents}/LICENSE ${documents}/copyright)
execute_process(COMMAND gzip -9n ${tree}/share/man/man1/noxsup.1 COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND chmod -R u=rwX,go=rX ${CPACK_TEMPORARY_DIRECTORY} COMMAND_ERROR_IS_FATAL ANY)
