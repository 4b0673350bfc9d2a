#!/usr/bin/env bash
# Puts what it takes to compile and link with CUDA 13.0 into target/cuda-toolkit, or $CUDA_TOOLKIT_DIR, on a
# machine that needs neither GPU nor driver: NVIDIA's wheels, and libraries that look for the real ones only
# when they are called (cuda_lazy.c). Then: . target/cuda-toolkit/env.sh
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "cuda-toolkit: $1" >&2 && exit 1; }

# A driver of the 580 series takes PTX up to that of nvcc 13.0.
wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)

[ "$(uname -sm)" = "Linux x86_64" ] || fail "made for x86-64 Linux; elsewhere install CUDA 13.0"
for tool in cargo gcc ar sha256sum; do
  command -v "$tool" >/dev/null || fail "$tool is missing"
done
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is missing"

home=$(realpath -m "${CUDA_TOOLKIT_DIR:-target/cuda-toolkit}")
stamp=$(sha256sum Cargo.lock scripts/cuda-toolkit.sh scripts/cuda_lazy.c && echo "$home")
[ "$(cat "$home/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
[ -e "$home/stamp" ] || [ -z "$(ls -A "$home" 2>/dev/null)" ] || fail "$home holds something else"

packages=$(cargo metadata --locked --features cuda --format-version 1) || fail "cargo could not fetch cudarc"
cudarc=$(python3 -c 'import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(*(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "cudarc"))' <<<"$packages")

new=$home.new
rm -rf "$new" && mkdir -p "$new/functions"
PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: \
  --target "$new" "${wheels[@]}" || fail "pip could not install ${wheels[*]}"
cuda=$new/nvidia/cu13
ln -s lib "$cuda/lib64"
rm "$cuda/lib/libnvvm.so.4" # 63 MB that nvcc does not use

# candle compiles kernels for quantised weights and experts that nothing here calls: quickly, then.
cat >"$cuda/bin/nvcc-quick" <<'SH'
#!/bin/sh
case "$PWD $*" in
  *candle-kernels*/mmq_gguf/* | *candle-kernels*/mmvq_gguf.cu* | *candle-kernels*/moe/*)
    set -- --Ofast-compile=max --compress-mode=size "$@" ;;
esac
exec "$(dirname "$0")/nvcc" "$@"
SH
chmod +x "$cuda/bin/nvcc-quick"

# One archive for each library, of the functions that cudarc declares.
mkdir -p "$cuda/lib/stubs"
lazy() { # module library soname, codes without the library and without the function
  local list=$new/functions/$1
  sed -nE 's/^ +fn (\w+)\(.*\) -> \*const .*;$/F(\1, 1)/p; s/^ +fn (\w+)\(.*\) -> \w+;$/F(\1, 0)/p' \
    "$cudarc/src/$1/sys/mod.rs" | sort -u >"$list"
  [ -s "$list" ] || fail "no functions found in cudarc's $1"
  gcc -O2 -fPIC -Wall -Werror -DFUNCTIONS="\"$list\"" -DSONAME="\"$3\"" -DNO_LIBRARY="$4" -DNO_FUNCTION="$5" \
    -c scripts/cuda_lazy.c -o "$list.o"
  ar rcs "$cuda/lib/stubs/lib$2.a" "$list.o"
}
lazy driver cuda libcuda.so.1 100 500 # CUDA_ERROR_NO_DEVICE, CUDA_ERROR_NOT_FOUND
lazy cublas cublas libcublas.so.13 1 15 # NOT_INITIALIZED, NOT_SUPPORTED
lazy cublaslt cublasLt libcublasLt.so.13 1 15
lazy curand curand libcurand.so.10 101 999 # NOT_INITIALIZED, INTERNAL_ERROR
lazy nvrtc nvrtc libnvrtc.so.13 11 11 # INTERNAL_ERROR
ln -s ../libcudart_static.a "$cuda/lib/stubs/libcudart.a"

cuda=$home/nvidia/cu13
cat >"$new/env.sh" <<SH
export CUDA_HOME='$cuda' NVCC='$cuda/bin/nvcc-quick' CUDARC_CUDA_VERSION=13000
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-90}" CUDAFORGE_THREADS="\${CUDAFORGE_THREADS:-\$(nproc)}"
case ":\$PATH:" in *":\$CUDA_HOME/bin:"*) ;; *) export PATH="\$CUDA_HOME/bin:\$PATH" ;; esac
SH
echo "$stamp" >"$new/stamp"
rm -rf "$home" && mv "$new" "$home"
