#!/usr/bin/env bash
# Times ours and PyTorch's version of the same work in turns, in one run, and prints the ratio of medians.
#
#   examples/bench_beside_pytorch.sh PYTHON SCRIPTS [ROUNDS [CASE ...]]
#
# PYTHON has torch; SCRIPTS holds unet.py and bench.py, which print lines `name, median ms, minimum ms, runs`. A CASE is
# `unet_b8`, `unet_b1` (training step, forward pass) or a part of the name of one of the operations that both `bench.py`
# and the benchmarks of halocast-kernels have; without one, both U-Nets and all operations. Environment:
#
#   THREADS=2     threads of both sides
#   BUDGET=4      seconds of timed runs of each case in each round
#   RT=1          real-time scheduling of the timed runs of both sides, where it is permitted
#   MODES         of PyTorch's U-Net: "eager" (its Adam's default), "cl" (channels last, fused Adam); default "eager cl"
#
# Both sides have an allocator that keeps its memory: ours mimalloc (programs) or glibc with raised thresholds (operations),
# PyTorch's glibc with the same thresholds. For each of our cases PyTorch's is the best of its forms (`name` and
# `name@form`, each by the median over rounds).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:?a python that has torch}
scripts=${2:?the folder of unet.py and bench.py}
rounds=${3:-3}
shift $(($# < 3 ? $# : 3))
cases=("$@")
modes=${MODES:-eager cl}
export THREADS=${THREADS:-2} BUDGET=${BUDGET:-4} RT=${RT:-0}
export RAYON_NUM_THREADS=$THREADS OMP_NUM_THREADS=$THREADS MKL_NUM_THREADS=$THREADS
times=$(mktemp)
trap 'rm -f "$times"' EXIT

unets=() operations=()
for case in "${cases[@]}"; do
  case $case in unet_b*) unets+=("${case#unet_}") ;; *) operations+=("$case") ;; esac
done
all_operations=0
if [ ${#cases[@]} = 0 ]; then unets=(b8 b1) all_operations=1; fi

cargo build --release --quiet --locked --workspace --example benchmark
program=target/release/examples/benchmark
benches=()
if [ ${#operations[@]} -gt 0 ] || [ $all_operations = 1 ]; then
  mapfile -t benches < <(cargo bench --quiet --locked --workspace --no-run --message-format=json \
    --bench ops --bench scan --bench points |
    grep -o '"executable":"[^"]*/\(ops\|scan\|points\)-[^"]*"' | cut -d'"' -f4 | sort -u)
fi

# `side name median_ms peak_mb`, one line a measurement.
note() { awk -v side="$1" 'NF >= 3 { print side, $1, $2, "-" }' >> "$times"; }
theirs() {
  MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=68719476736 MALLOC_TOP_PAD_=67108864 "$python" "$@"
}
real_time=()
if [ "$RT" = 1 ]; then real_time=(--real-time); fi

for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  for batch in "${unets[@]}"; do
    for what in train fwd; do
      "$program" "unet_${batch}_$what" --threads "$THREADS" --budget "$BUDGET" "${real_time[@]}" |
        sed -E 's/.*"job":"([^"]*)".*"median_s":([^,]*),.*"peak_rss_mb":([^,}]*).*/\1 \2 \3/' |
        awk '{ printf "ours %s %.4f %.0f\n", $1, 1000 * $2, $3 }' >> "$times"
      for mode in $modes; do
        theirs "$scripts/unet.py" "$batch" "$mode" "$what" 2> "$times.peak" > "$times.out"
        peak=$(awk '/^peak rss MB/ { print $4 }' "$times.peak")
        awk -v peak="$peak" '{ print "theirs", $1, $2, peak }' "$times.out" >> "$times"
        rm -f "$times.peak" "$times.out"
      done
    done
  done
  for bench in "${benches[@]}"; do MALLOC=1 "$bench" "${operations[@]}" | note ours; done
  if [ ${#benches[@]} -gt 0 ]; then theirs "$scripts/bench.py" "${operations[@]}" | note theirs; fi
done

echo "$(date -u +%F), $(nproc) cores, $THREADS threads, $rounds rounds, $("$python" -c 'import torch; print("PyTorch", torch.__version__)'), $(rustc --version)"
echo '| case | ours ms | PyTorch ms | its form | PyTorch / ours | ours peak MB | PyTorch peak MB |'
echo '|---|---|---|---|---|---|---|'
sort -k1,1 -k2,2 -k3,3g "$times" | awk '
  # The measurements of one side and case come in ascending order: the middle one is their median.
  function close_group(   parts, form) {
    if (n == 0) return
    median = value[int((n + 1) / 2)]
    if (side == "ours") { ours[name] = median; memory[name] = peak; order[++cases] = name }
    else {
      split(name, parts, "@"); form = parts[2] == "" ? "plain" : parts[2]
      if (!(parts[1] in best) || median < best[parts[1]]) {
        best[parts[1]] = median; form_of[parts[1]] = form; their_memory[parts[1]] = peak
      }
    }
  }
  $1 != side || $2 != name { close_group(); side = $1; name = $2; n = 0; peak = "-" }
  { value[++n] = $3; if (peak == "-" || $4 > peak) peak = $4 }
  END {
    close_group()
    for (i = 1; i <= cases; i++) {
      name = order[i]
      if (name in best)
        printf "| %s | %.3f | %.3f | %s | %.2f | %s | %s |\n", name, ours[name], best[name], form_of[name], best[name] / ours[name], memory[name], their_memory[name]
    }
  }'
