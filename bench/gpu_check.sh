#!/usr/bin/env bash
# What only a GPU can show, in under ten minutes, on a machine that has little more than PyTorch with CUDA:
# the tests marked gpu, gpu_bench.py, and five minutes of pre-training with ptr.yaml.
#
#   bench/gpu_check.sh [FOLDER]     the results; otherwise OUT names their folder
#
#   STORE     prior data, made by `ptr collect` or `ptr import` [a dot on a plain ground]
#   PYTHON    the Python that has PyTorch [python3]
#   TRAIN_S, BENCH_S, TEST_S        longest time of each part [300, 150, 90 s]
#
# What is missing is installed by pip into a virtual environment of its own, if a registry or PIP_FIND_LINKS answers.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
out=${1:-${OUT:-}}
[ -n "$out" ] || { sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
failed=0

say() { printf '== %s\n' "$*" | tee -a "$out/summary.txt"; }

# Runs a part of the check: its name, its longest time [s], its command; the output goes to NAME.txt.
part() {
  local name=$1 limit=$2 code=0 begin=$SECONDS
  shift 2
  # an interrupt first, after which a training run saves and ends by itself
  timeout --signal=INT --kill-after=30 "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
  say "$name: exit $code after $((SECONDS - begin)) s"
  return "$code"
}

python=$work/venv/bin/python
if ! "${PYTHON:-python3}" -m venv --system-site-packages "$work/venv" >"$out/venv.txt" 2>&1; then
  say "no virtual environment (venv.txt); ${PYTHON:-python3} is used as it is"
  python=${PYTHON:-python3}
fi
{ grep -v '^torch' requirements/training.in; printf '%s\n' hypothesis pytest; } >"$work/wanted.txt"
"$python" -m pip install -q --disable-pip-version-check -r "$work/wanted.txt" >"$out/pip.txt" 2>&1 ||
  say "pip could not install everything (pip.txt); what is there is used"
PYTHONPATH=$(printf '%s:' "$PWD"/src/{ptr_common,ptr_policy_node,ptr_training,widowx_bringup})
export PYTHONPATH
"$python" -c 'import sys, torch; print(torch.__version__); sys.exit(not torch.cuda.is_available())' >"$out/torch.txt" 2>&1 ||
  { say "PyTorch finds no GPU: nothing is measured"; exit 0; }

mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.gpu' src test) # the others import more than is needed here
part tests "${TEST_S:-90}" "$python" -m pytest -m gpu -v -p no:cacheprovider "${files[@]}" || failed=1

store=${STORE:-$work/store}
[ -n "${STORE:-}" ] || "$python" bench/toy_store.py "$store" || exit
# Stopped by the interrupt, training ends with 124 of timeout, its last checkpoint saved.
pretrain='import sys; from ptr_training.training.train import pretrain; pretrain(sys.argv[1:])'
part training "${TRAIN_S:-300}" "$python" -c "$pretrain" --config ptr --data "$store" --out "$work/run" \
  --set bf16=true --set log_every=20
[ $? = 124 ] || failed=1
for file in metrics.csv config.yaml; do
  cp "$work/run/$file" "$out" || failed=1
done

part bench "${BENCH_S:-150}" "$python" bench/gpu_bench.py || failed=1
tail -n 20 "$out/bench.txt"
exit "$failed"
