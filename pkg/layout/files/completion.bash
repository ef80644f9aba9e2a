# Completion for systole and for the programs that it stands for. Part of systole.

_systole() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev= name=${COMP_WORDS[0]##*/} at=0 place words=
	[ "$COMP_CWORD" -eq 0 ] || prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if [ "$name" = systole ]; then
		if [ "$COMP_CWORD" -eq 1 ]; then
			# shellcheck disable=SC2207 # words without blanks
			COMPREPLY=($(compgen -W "$(systole programs 2>/dev/null) --help --version" -- "$cur"))
			return
		fi
		name=${COMP_WORDS[1]} at=1
	fi
	place=$((COMP_CWORD - at)) # of the word among the program's
	case $name in
	help) words=$(systole help --topics 2>/dev/null) ;;
	hb_standby | hb_takeover) words='all local foreign failback' ;;
	heartbeat) words='-s -k -r -f -V -d -D -M -l --help' ;;
	cl_status)
		case $place:${COMP_WORDS[at + 1]}:$prev in
		1:*) words='hbstatus clientstatus listnodes nodestatus nodeweight nodesite nodetype listhblinks hblinkstatus rscstatus hbparameter' ;;
		*:hbparameter:-p) words='keepalive deadtime deadping warntime initdead udpport baud auto_failback hbversion' ;;
		2:clientstatus:* | 2:hblinkstatus:* | 2:node*:* | 2:listhblinks:*) words=$(systole cl_status listnodes 2>/dev/null) ;;
		3:hblinkstatus:*) words=$(systole cl_status listhblinks "$prev" 2>/dev/null) ;;
		*:hbparameter:*) words='-p -m' ;;
		*:listnodes:*) words='-p -n -v -m' ;;
		*) words='-m -v' ;;
		esac
		;;
	ldirectord)
		words='start stop restart try-restart reload force-reload status configtest drain undrain -d --debug --help --version'
		case " ${COMP_WORDS[*]} " in
		*' drain '*) words='--virtual --wait --timeout' ;;
		*' undrain '*) words='--virtual' ;;
		*' status '*) words='--verbose --json' ;;
		*)
			# shellcheck disable=SC2207
			[ "$place" -ne 1 ] || COMPREPLY=($(cd /etc/ha.d 2>/dev/null && compgen -G "$cur*.cf"))
			;;
		esac
		;;
	check) words='--kind --help' ;;
	show) words='--json --kind --fields --help' ;;
	status) words='--json --help' ;;
	metrics) words='--listen --help' ;;
	realserver) words='start stop restart status --file --help' ;;
	adopt) words='--dry-run --yes --undo --standby --wait --help' ;;
	install) words='--destdir --layout --ipvsadm --dry-run --help' ;;
	hb_delnode | hb_setweight | hb_setsite | mach_down) words=$(systole cl_status listnodes -n 2>/dev/null) ;;
	req_resource) words=$(systole ResourceManager allkeys 2>/dev/null) ;;
	ResourceManager)
		case $place in
		1) words='listkeys allkeys ourkeys otherkeys status takegroup givegroup statgroup verifyallidle' ;;
		2) words=$(systole ResourceManager allkeys 2>/dev/null) ;;
		esac
		;;
	cl_respawn) words='-m -i -w -p -r -h' ;;
	ipvsadm)
		words='-A -E -D -C -R -S -a -e -d -L -Ln -Z --add-service --edit-service --delete-service --clear --restore --save
			--add-server --edit-server --delete-server --list --zero --set --start-daemon --stop-daemon --stats --rate --connection --help'
		;;
	esac
	case $prev in
	--kind | --fields) words='ha.cf authkeys haresources ldirectord.cf' ;;
	--layout) words='debian rhel' ;;
	esac
	# shellcheck disable=SC2207
	COMPREPLY+=($(compgen -W "$words" -- "$cur"))
	if [ ${#COMPREPLY[@]} -eq 0 ]; then
		# shellcheck disable=SC2207
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
	return 0
}
complete -F _systole systole heartbeat ldirectord cl_status cl_respawn hb_standby hb_takeover hb_delnode hb_setweight hb_setsite \
	mach_down req_resource ResourceManager ipvsadm
