# fish completion for noxsup
function __noxsup_vms
    noxsup -q list 2>/dev/null
end

set -l verbs create launch start stop restart reset delete rm list ls status info wait ssh shell exec \
    ssh-config cp transfer console ip logs image doctor daemon version help completion
set -l of_a_vm start stop restart reset delete rm status info wait ssh shell exec ssh-config console ip logs

complete -c noxsup -f
complete -c noxsup -n "not __fish_seen_subcommand_from $verbs" -a "$verbs"
complete -c noxsup -l home -r -d 'home directory'
complete -c noxsup -l user-scope -d 'use the home of the user'
complete -c noxsup -l format -x -a 'table json csv yaml' -d 'form of the output'
complete -c noxsup -s q -l quiet -d 'names only'
complete -c noxsup -s v -l verbose -d 'say more'
complete -c noxsup -l no-color -d 'no colours'
complete -c noxsup -l progress -x -a 'auto json none' -d 'form of the progress'
complete -c noxsup -n "__fish_seen_subcommand_from $of_a_vm" -a '(__noxsup_vms)'
complete -c noxsup -n '__fish_seen_subcommand_from cp transfer' -F -a '(__noxsup_vms | string replace -r \'$\' :)'
complete -c noxsup -n '__fish_seen_subcommand_from image' -F -a 'ls available pull import build rm'
complete -c noxsup -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c noxsup -n '__fish_seen_subcommand_from start stop restart delete rm status info' -l all -d 'every VM'
complete -c noxsup -n '__fish_seen_subcommand_from stop restart' -l force -d 'at once'
complete -c noxsup -n '__fish_seen_subcommand_from delete rm create launch' -l yes -d 'do not ask'
complete -c noxsup -n '__fish_seen_subcommand_from create launch start restart' -l wait -x -a 'running ip ssh cloud-init'
complete -c noxsup -n '__fish_seen_subcommand_from wait' -l for -x -a 'running ip ssh cloud-init stopped'
for option in os image arch cpus ram disk network publish ip gateway dns mac user ssh-key cloud-init accel restart timeout boot
    complete -c noxsup -n '__fish_seen_subcommand_from create launch' -l $option -r
end
for option in no-autostart no-start stock password
    complete -c noxsup -n '__fish_seen_subcommand_from create launch' -l $option
end
