#!/usr/bin/env bash
# Times our reading and that of h5py and numpy of the same files in turns, in one run, and prints the ratio of medians.
#
#   examples/bench_beside_h5py.sh PYTHON FOLDER [ROUNDS [JOB ...]]
#
# PYTHON has h5py; FOLDER holds the files of particles and maps that the peer's script b7_io.py makes. A JOB is one of the
# group b7_io of `benchmark --list`. Environment:
#
#   THREADS=2     threads of both sides
#   BUDGET=2      seconds of timed runs of each job in each round; three runs at least
#   NICE          a command before both sides, such as `nice -n -10`
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:?a python that has h5py}
folder=$(realpath "${2:?the folder of the files}")
rounds=${3:-3}
shift $(($# < 3 ? $# : 3))
jobs=("$@")
if [ ${#jobs[@]} = 0 ]; then
  for kind in contig chunked gzip; do
    jobs+=("h5_full5fields_5e6_$kind" "h5_coords_5e6_$kind" "h5_100slabs_2e4_$kind" "h5_1000ranges_1e3_$kind")
  done
  jobs+=(h5_coords_to_f32_contig npy_46batches64_256_log10_norm npy_46batches64_256_gather_only
    npy_stats_3000x256_log10_minmax npy_full_read_750MB)
fi
export THREADS=${THREADS:-2} BUDGET=${BUDGET:-2} HALOCAST_BENCH=$folder
export OMP_NUM_THREADS=$THREADS OPENBLAS_NUM_THREADS=$THREADS
before=(${NICE:-})
program=${PROGRAM:-target/release/examples/benchmark}
if [ -z "${PROGRAM:-}" ]; then cargo build --release --quiet --locked --workspace --example benchmark; fi
times=$(mktemp)
trap 'rm -f "$times" "$times.py"' EXIT

# The peer's work, job by job as in b7_io.py; prints the median of its runs and the peak of memory, as ours does.
cat > "$times.py" <<'PYTHON'
import os, sys, time
import h5py, numpy as np
job, folder, budget = sys.argv[1], os.environ["HALOCAST_BENCH"], float(os.environ["BUDGET"])
rows, five = 5_000_000, ("Coordinates", "Velocities", "Masses", "Density", "ParticleIDs")
kind = job.rsplit("_", 1)[1]
snap, npy = f"{folder}/snap_{kind}.hdf5", f"{folder}/cmd_3000x256x256_f32.npy"
order = np.random.default_rng(2).permutation(3000)

def fields(names):
    with h5py.File(snap, "r") as f: return [f["PartType0/" + name][:] for name in names]
def single():
    with h5py.File(snap, "r") as f: return f["PartType0/Coordinates"].astype("f4")[:]
def ranges(count, length):
    rng = np.random.default_rng(1)
    with h5py.File(snap, "r") as f:
        x, m = f["PartType0/Coordinates"], f["PartType0/Masses"]
        for s in rng.integers(0, rows - length, count): x[s:s + length]; m[s:s + length]
if job.startswith("npy") and not job.startswith("npy_full"): maps = np.load(npy, mmap_mode="r")
def batches():
    # The faster of the peer's two forms: sorted indices, in place.
    for i in range(46):
        x = maps[np.sort(order[i * 64:(i + 1) * 64])]; np.log10(x, out=x); x -= 4.0; x *= 0.25
def gather():
    for i in range(46): maps[order[i * 64:(i + 1) * 64]]
def stats():
    for i in range(0, 3000, 100): l = np.log10(maps[i:i + 100]); l.min(), l.max(), l.mean(), l.std()

if job.startswith("h5_full5"): work = lambda: fields(five)
elif job.startswith("h5_coords_to"): work = single
elif job.startswith("h5_coords"): work = lambda: fields(five[:1])
elif job.startswith("h5_100slabs"): work = lambda: ranges(100, 20_000)
elif job.startswith("h5_1000ranges"): work = lambda: ranges(1000, 1000)
elif job.endswith("norm"): work = batches
elif job.endswith("gather_only"): work = gather
elif job.startswith("npy_stats"): work = stats
else: work = lambda: np.load(npy)
with open("/proc/self/clear_refs", "w") as f: f.write("5")
work()
runs, start = [], time.perf_counter()
while len(runs) < 3 or time.perf_counter() - start < budget:
    begin = time.perf_counter(); work(); runs.append(time.perf_counter() - begin)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{np.median(runs):.6f} {peak / 1024:.0f}")
PYTHON

for round in $(seq "$rounds"); do
  for job in "${jobs[@]}"; do
    echo "round $round of $rounds: $job" >&2
    "${before[@]}" "$program" "$job" --threads "$THREADS" --budget "$BUDGET" |
      sed -E 's/.*"median_s":([^,]*),.*"peak_rss_mb":([^,}]*).*/\1 \2/' | sed "s/^/ours $job /" >> "$times"
    "${before[@]}" "$python" "$times.py" "$job" | sed "s/^/theirs $job /" >> "$times"
  done
done

echo "$(date -u +%F), $(nproc) cores, $THREADS threads, $rounds rounds, $("$python" -c 'import h5py, numpy; print("h5py", h5py.__version__, "numpy", numpy.__version__)'), $(rustc --version)"
echo '| job | ours s | h5py or numpy s | ratio | ratios of the rounds | ours peak MB | theirs |'
echo '|---|---|---|---|---|---|---|'
"$python" - "$times" <<'PYTHON'
import statistics, sys
ours, theirs, peaks, order = {}, {}, {}, []
for line in open(sys.argv[1]):
    side, job, seconds, peak = line.split()
    table = ours if side == "ours" else theirs
    table.setdefault(job, []).append(float(seconds))
    peaks[side, job] = max(peaks.get((side, job), 0.0), float(peak))
    if job not in order: order.append(job)
for job in order:
    a, b = statistics.median(ours[job]), statistics.median(theirs[job])
    rounds = ", ".join(f"{y / x:.2f}" for x, y in zip(ours[job], theirs[job]))
    print(f"| {job} | {a:.4f} | {b:.4f} | {b / a:.2f} | {rounds} | {peaks['ours', job]:.0f} | {peaks['theirs', job]:.0f} |")
PYTHON
