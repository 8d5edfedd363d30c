# bash completion for noxsup
# shellcheck shell=bash disable=SC2207
_noxsup() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' word
  local verbs='create launch start stop restart reset delete rm list ls status info wait ssh shell exec
    ssh-config cp transfer console ip logs image doctor daemon version help completion'
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -* ]] || { command=$word; break; }
  done
  case $previous in
    --arch) COMPREPLY=($(compgen -W 'arm64 amd64' -- "$current")); return ;;
    --accel) COMPREPLY=($(compgen -W 'auto kvm tcg' -- "$current")); return ;;
    --boot) COMPREPLY=($(compgen -W 'auto firmware kernel' -- "$current")); return ;;
    --wait) COMPREPLY=($(compgen -W 'running ip ssh cloud-init' -- "$current")); return ;;
    --for) COMPREPLY=($(compgen -W 'running ip ssh cloud-init stopped' -- "$current")); return ;;
    --restart) COMPREPLY=($(compgen -W 'no on-failure always' -- "$current")); return ;;
    --format) COMPREPLY=($(compgen -W 'table json csv yaml' -- "$current")); return ;;
    --progress) COMPREPLY=($(compgen -W 'auto json none' -- "$current")); return ;;
    --network) COMPREPLY=($(compgen -W 'user bridge bridge=br0' -- "$current")); return ;;
    --os) COMPREPLY=($(compgen -W 'debian debian:12 debian:13' -- "$current")); return ;;
    --image | --ssh-key | --cloud-init | --home) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case $command in
    '') COMPREPLY=($(compgen -W "$verbs --home --user-scope --format --quiet --verbose --no-color --progress --help" -- "$current")) ;;
    image) COMPREPLY=($(compgen -W 'ls available pull import build rm' -- "$current") $(compgen -f -- "$current")) ;;
    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$current")) ;;
    create | launch)
      COMPREPLY=($(compgen -W '--os --image --arch --cpus --ram --disk --network --publish --ip --gateway --dns --mac
        --user --ssh-key --cloud-init --accel --restart --no-autostart --no-start --wait --timeout --boot --stock
        --password --yes' -- "$current")) ;;
    cp | transfer)
      COMPREPLY=($(compgen -W "$(noxsup -q list 2>/dev/null | sed 's/$/:/')" -- "$current") $(compgen -f -- "$current")) ;;
    version | doctor | daemon | help) ;;
    *) COMPREPLY=($(compgen -W "$(noxsup -q list 2>/dev/null) --all --yes --force --timeout --wait --for" -- "$current")) ;;
  esac
}
complete -o bashdefault -F _noxsup noxsup
