#!/usr/bin/env bash
# Runs a command on a machine without a GPU as if it had one: libraries under the names of CUDA's, in front of all
# others, that compute kernels/*.cu in the emulator and products one term after the other (tests/fake_gpu/). What was
# built with `--features cuda` then runs its own host code, all of it; docs/kernels.md says what that cannot show.
#
#   scripts/fake-gpu.sh COMMAND...      builds the libraries where they are out of date, and runs COMMAND
#   scripts/fake-gpu.sh                 builds, and says where they are
#
# V5_FAKE_GPU_FAULT       "NAME N OUTCOME", or several with semicolons between them: from its N-th call on NAME answers
#                         with a code of CUDA's, with `hang` not at all, with `crash` by ending the process. NAME is a
#                         function, as cuMemAllocAsync or cublasGemm, one for a kernel, as cuLaunchKernel/begin_f32 or
#                         cuModuleGetFunction/begin_f32, or what happens on the card later: run, run/begin_f32
# V5_FAKE_GPU_LATE=1      work is done only when somebody waits for it
# V5_FAKE_GPU_LOG         a file that gets how often each function and each kernel was called, by process
# V5_FAKE_GPU_DEVICES, _MEMORY, _SHARED (bytes, the last of a block), _CAPABILITY (90)
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")
folder=$root/target/fake-gpu
mkdir -p "$folder"

# As build.rs compiles the emulator, so that the same bits come out.
compiler=(g++ -std=c++17 -O2 -fPIC -fvisibility=hidden -DV5_EMULATE -fno-strict-aliasing -ffp-contract=off
  -Wno-unknown-pragmas -I "$root/kernels")
headers=$(cat "$root"/kernels/*.h "$root"/kernels/*.cuh "$root"/tests/fake_gpu/*.h | sha256sum)
compile() { # compiles one file, unless it was compiled as it is
  local object=$folder/$(basename "$1").o digest
  digest="$headers ${compiler[*]} $(sha256sum <"$1")"
  [ "$(cat "$object.digest" 2>/dev/null)" != "$digest" ] || return 0
  rm -f "$object.digest"
  "${compiler[@]}" -x c++ -c -o "$object" "$1"
  echo "$digest" >"$object.digest"
}

exec 9>"$folder/lock" && flock 9
sources=("$root"/kernels/{attention,ssd,wkv6}.cu "$root"/kernels/*.cu "$root/kernels/emulate.cpp" "$root"/tests/fake_gpu/*.cpp)
mapfile -t sources < <(printf '%s\n' "${sources[@]}" | awk '!seen[$0]++')
for source in "${sources[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  compile "$source" &
done
while [ -n "$(jobs -p)" ]; do wait -n; done
objects=("${sources[@]##*/}")
objects=("${objects[@]/#/$folder/}")
objects=("${objects[@]/%/.o}")
library=$folder/libcuda.so.1
for object in "${objects[@]}"; do
  [ "$object" -nt "$library" ] || continue
  # Who runs meanwhile has the old one open.
  rm -f "$library"
  g++ -shared -Wl,-Bsymbolic -Wl,-soname,libcuda.so.1 -o "$library" "${objects[@]}"
  break
done
for name in libcublas.so.13 libcublasLt.so.13 libcurand.so.10; do ln -sf libcuda.so.1 "$folder/$name"; done
flock -u 9 && exec 9>&-

[ $# -gt 0 ] || { echo "$folder" && exit 0; }
LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$@"
