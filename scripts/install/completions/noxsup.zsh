#compdef noxsup
# zsh completion for noxsup

_noxsup_vms() {
  local -a names
  names=(${(f)"$(noxsup -q list 2>/dev/null)"})
  _describe 'virtual machine' names
}

_noxsup() {
  local -a verbs
  local state
  verbs=(
    'create:make a VM and start it' 'launch:make a VM and start it' 'start:start VMs' 'stop:stop VMs'
    'restart:stop and start VMs' 'reset:press the reset button' 'delete:stop and remove VMs' 'rm:stop and remove VMs'
    'list:all VMs' 'ls:all VMs' 'status:everything known of a VM' 'info:everything known of a VM'
    'wait:wait for a stage of a VM' 'ssh:log in or run a command' 'shell:log in or run a command'
    'exec:run a command with its words kept apart' 'ssh-config:a snippet for ~/.ssh/config' 'cp:copy files'
    'transfer:copy files' 'console:the serial console' 'ip:the address alone' 'logs:what a VM said'
    'image:images' 'doctor:check the host' 'daemon:the supervisor in the foreground' 'version:the version'
    'help:help on a command' 'completion:completions for a shell'
  )
  _arguments -C \
    '--home[home directory]:directory:_files -/' '--user-scope[use the home of the user]' \
    '--format[form of the output]:form:(table json csv yaml)' '(-q --quiet)'{-q,--quiet}'[names only]' \
    '(-v --verbose)'{-v,--verbose}'[say more]' '--no-color[no colours]' \
    '--progress[form of the progress]:form:(auto json none)' \
    '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe 'command' verbs ;;
    argument)
      case $words[1] in
        create | launch)
          _arguments '1:name:' '--os[system]:system:(debian debian\:12 debian\:13)' '--image[image]:image:_files' \
            '--arch[architecture]:architecture:(arm64 amd64)' '--cpus[CPUs]:number:' '--ram[memory]:size:' \
            '--disk[disk]:size:' '--network[network]:network:(user bridge bridge=br0)' '*--publish[port]:ports:' \
            '--ip[address]:CIDR:' '--gateway[gateway]:address:' '*--dns[name server]:address:' '--mac[MAC]:MAC:' \
            '--user[user]:user:' '*--ssh-key[public key]:file:_files' '*--cloud-init[document]:file:_files' \
            '--accel[accelerator]:accelerator:(auto kvm tcg)' '--restart[policy]:policy:(no on-failure always)' \
            '--no-autostart[do not start with the host]' '--no-start[make only]' \
            '--wait[stage]:stage:(running ip ssh cloud-init)' '--timeout[time]:time:' \
            '--boot[way to boot]:way:(auto firmware kernel)' '--stock[no trimming]' '--password[make one]' '--yes[do not ask]' ;;
        image) _arguments '1:command:(ls available pull import build rm)' '*:file:_files' ;;
        completion) _arguments '1:shell:(bash zsh fish)' ;;
        cp | transfer) _alternative 'vms:virtual machine:_noxsup_vms' 'files:file:_files' ;;
        version | doctor | daemon | help) ;;
        *) _arguments '--all[every VM]' '--force[at once]' '--yes[do not ask]' '--timeout[time]:time:' \
            '--wait[stage]:stage:(running ip ssh cloud-init)' '--for[stage]:stage:(running ip ssh cloud-init stopped)' \
            '*:virtual machine:_noxsup_vms' ;;
      esac ;;
  esac
}

_noxsup "$@"
