# Completion for systole and for the programs that it stands for. Part of systole.

_systole() {
	local cur=${COMP_WORDS[COMP_CWORD]} name=${COMP_WORDS[0]##*/} at=0 words=
	if [ "$name" = systole ]; then
		if [ "$COMP_CWORD" -eq 1 ]; then
			# shellcheck disable=SC2207 # words without blanks
			COMPREPLY=($(compgen -W "$(systole programs 2>/dev/null) programs --help" -- "$cur"))
			return
		fi
		name=${COMP_WORDS[1]} at=1
	fi
	case $name in
	help) words=$(systole help --topics 2>/dev/null) ;;
	hb_standby | hb_takeover) words='all local foreign failback' ;;
	heartbeat) words='-s -k -r -V -f -v -d -D -M -l' ;;
	cl_status)
		if [ $((COMP_CWORD - at)) -eq 1 ]; then
			words='hbstatus clientstatus listnodes nodestatus nodeweight nodesite nodetype listhblinks hblinkstatus rscstatus parameter clusternode'
		fi
		;;
	ldirectord)
		words='start stop restart try-restart reload force-reload status -d --debug'
		# shellcheck disable=SC2207
		COMPREPLY=($(cd /etc/ha.d 2>/dev/null && compgen -G "$cur*.cf"))
		;;
	status) words=--json ;;
	metrics) words=--listen ;;
	realserver) words='start stop restart status --file' ;;
	adopt) words='--dry-run --yes --undo --standby' ;;
	install) words='--destdir --layout --ipvsadm --dry-run' ;;
	ResourceManager)
		case $((COMP_CWORD - at)) in
		1) words='listkeys allkeys ourkeys otherkeys status takegroup givegroup statgroup verifyallidle' ;;
		2) words=$(systole ResourceManager allkeys 2>/dev/null) ;;
		esac
		;;
	ipvsadm) words='-A -E -D -C -R -S -a -e -d -L -Ln -Z --set --start-daemon --stop-daemon --help --stats --rate --connection' ;;
	esac
	# shellcheck disable=SC2207
	COMPREPLY+=($(compgen -W "$words" -- "$cur"))
	if [ ${#COMPREPLY[@]} -eq 0 ]; then
		# shellcheck disable=SC2207
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}
complete -F _systole systole heartbeat ldirectord cl_status hb_standby hb_takeover ResourceManager ipvsadm
