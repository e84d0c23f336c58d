#!/usr/bin/env bash
# Sets up what is needed, once, and runs a program, the tests or the main job.
#
#   ./launch.sh                  the main job: a grid of learning rates on real digits
#   ./launch.sh PROGRAM [flags]  python -m experiments.PROGRAM [flags]
#   ./launch.sh test [args]      the checks and tests; args go to pytest
#   ./launch.sh test --oldest [args]   the tests on the oldest versions it runs with
#   ./launch.sh test --newest [args]   the tests on what pip installs today
#   ./launch.sh docs             builds the documentation in build/docs
#   ./launch.sh setup            only sets up
#   ./launch.sh bench --compile_for=h200   needs 7 GB, in an environment of its own
#   eval "$(./launch.sh completion)"   completes programs and their flags in bash
#
# PYTHON names the interpreter to use (3.11 or newer), MNISTOPT_VENV the environment's
# folder (.venv beside this file); that of --oldest has -oldest after its name, and
# needs Python 3.11 or 3.12; that of --newest has -newest, and needs 3.13 or newer; that
# of --compile_for has -aot.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi  # as by sh launch.sh
set -euo pipefail

# Programs show how they were called; a name without a folder was found by bash.
case $0 in */*) export MNISTOPT_LAUNCHER=$0 ;; *) export MNISTOPT_LAUNCHER=./$0 ;; esac
# The project is where this file is, not where a link to it is.
file=${BASH_SOURCE[0]}
while [ -L "$file" ]; do
  link=$(readlink "$file")
  case $link in /*) file=$link ;; *) file=$(dirname "$file")/$link ;; esac
done
root=$(cd "$(dirname "$file")" && pwd)
venv=${MNISTOPT_VENV:-$root/.venv}
constraints=$root/constraints.txt
special="" upgrade="" pythons="3.11 or newer" least="3, 11" before="4"

say() { printf '%s\n' "$*" >&2 || true; }  # an unread message must not end the script

fits() { "$1" -c "import sys; sys.exit(not ($least) <= sys.version_info < ($before,))" 2>/dev/null; }

find_python() {
  local name
  # An interpreter that is named is used, or refused.
  if [ -n "${PYTHON:-}" ]; then
    if fits "$PYTHON"; then echo "$PYTHON"; return; fi
    name=$("$PYTHON" -c 'import platform; print(platform.python_version())' 2>/dev/null) || true
    if [ -n "$name" ]; then name="is Python $name"; else name="cannot be run"; fi
    say "error: PYTHON=$PYTHON $name; expected is Python $pythons, or leave PYTHON out"
    exit 2
  fi
  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if fits "$name"; then echo "$name"; return; fi
  done
  say "error: no Python $pythons found; install one, or name it: PYTHON=/path/to/python ./launch.sh"
  exit 2
}

# Colab comes with a JAX for its accelerator, and much else: use it unchanged.
has_own_jax() { [ -n "${COLAB_RELEASE_TAG:-}" ] && [ -z "$special" ] && "$1" -c 'import jax' 2>/dev/null; }

set_up() {
  local extras=$1 wanted stamp host compiler
  host=$(find_python)
  # Newer Pythons get newer versions, with which the tests pass too.
  if [ -z "$special" ] && "$host" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
    constraints=$root/constraints-newest.txt
  fi
  if [ "$extras" = run ]; then
    extras=""
  fi
  if has_own_jax "$host"; then
    python=$host
    stamp=$HOME/.cache/mnistopt/setup
  else
    python=$venv/bin/python
    stamp=$venv/.setup
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
      extras="${extras:+$extras,}cuda"
    fi
  fi
  # Set up again where the dependencies, the wanted extras or the C++ have changed.
  compiler=$(command -v c++ || command -v g++ || command -v clang++ || true)
  wanted="$extras $root $compiler $(cd "$root" && cat pyproject.toml "$constraints" setup.py mnistopt/models/fused.cpp | cksum)"
  # The newest versions change from day to day.
  if [ "$special" = newest ]; then wanted="$wanted $(date +%F)"; fi
  if [ -f "$stamp" ] && grep -qxF -- "$wanted" "$stamp" && [ -x "$(command -v "$python")" ]; then
    return
  fi
  if [ "$python" != "$host" ] && [ ! -x "$python" ]; then
    say "making an environment in $venv"
    "$host" -m venv "$venv" || {
      say "error: $host cannot make an environment (on Debian: apt install python3-venv)"
      exit 2
    }
  fi
  say "installing the project${extras:+ with $extras} (a minute or two, once; without a C++ compiler, four)"
  if [ "$python" = "$host" ]; then
    # Installed packages are not replaced.
    constraints=$(mktemp)
    "$python" -m pip freeze 2>/dev/null | grep -E '^[A-Za-z0-9._-]+==' >"$constraints" || true
  fi
  "$python" -m pip install --quiet --disable-pip-version-check \
    ${upgrade:+--upgrade --upgrade-strategy eager} -c "$constraints" -e "$root${extras:+[$extras]}" >&2
  mkdir -p "$(dirname "$stamp")"
  # An environment for the tests also serves for running.
  printf '%s\n' "$wanted" >>"$stamp"
  [ -z "$extras" ] || printf '%s\n' "${wanted#"$extras"}" >>"$stamp"
}

check() {
  cd "$root"
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  "$python" -m mypy
  run_tests "$@"
}

# Side by side, as most of a test's time is Python's; -n 0 for one after the other.
run_tests() {
  cd "$root"
  exec "$python" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
}

# The programs are the files that can be run.
programs() {
  (cd "$root/experiments" && grep -l __main__ ./*.py | sed 's|^\./||;s|\.py$||' | paste -sd ' ')
}

case ${1:-} in
  completion)
    cat <<END
_mnistopt() {
  local word=\${COMP_WORDS[COMP_CWORD]} words="$(programs) test docs setup"
  if [ "\$COMP_CWORD" -gt 1 ]; then
    words=\$("\$1" "\${COMP_WORDS[1]}" --help 2>/dev/null | grep -o '^  --[a-z_]*')
  fi
  COMPREPLY=(\$(compgen -W "\$words" -- "\$word"))
}
complete -o default -F _mnistopt launch.sh
END
    ;;
  setup) set_up run ;;
  docs)
    set_up docs
    cd "$root"
    "$python" -m sphinx -W --keep-going -q -b html docs build/docs
    echo "Open $root/build/docs/index.html" ;;
  test)
    shift
    case ${1:-} in
      --oldest)
        # numpy 2.0 has no builds for Python 3.13.
        special=oldest pythons="3.11 or 3.12" before="3, 13"
        constraints=$root/constraints-oldest.txt ;;
      --newest)
        # The newest versions have no builds for Python 3.11.
        special=newest pythons="3.13 or newer" least="3, 13" upgrade=yes
        constraints=/dev/null ;;
    esac
    if [ -n "$special" ]; then
      shift
      venv=$venv-$special
      set_up dev
      run_tests "$@"
    fi
    set_up dev,docs
    check "$@" ;;
  -h | --help)
    sed -n '2,/^set/{/^set/d;/^if/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    echo
    echo "Programs, each with --help:"
    # The first line of each file says what it does.
    for name in $(programs); do
      printf '  %-10s %s\n' "$name" "$(sed -n '1s/"*//gp' "$root/experiments/$name.py")"
    done ;;
  "") set_up run; exec "$python" -m experiments.grid --lr=1e-4,1e-3,1e-2 ;;
  -*) say "error: expected a program before its flags, as in ./launch.sh grid $1"; exit 2 ;;
  *)
    program=$1; shift
    case " $(programs) " in
      *" $program "*) ;;
      *)
        say "error: no program '$program'; there are: $(programs | sed 's/ /, /g'), test, docs, setup"
        exit 2 ;;
    esac
    # Only few need more than the project itself. Compilers for devices that
    # are not present (7 GB) get their own environment, or JAX would look for devices.
    case "$program $*" in
      bench*--compile_for*) venv=$venv-aot; set_up aot ;;
      bench*--search*) set_up bench,search ;;
      bench*--export*) set_up bench,export ;;
      bench*) set_up bench ;;
      search*) set_up search ;;
      export*) set_up export ;;
      read* | forms*) set_up read ;;
      *) set_up run ;;
    esac
    exec "$python" -m "experiments.$program" "$@" ;;
esac
