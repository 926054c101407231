// The words of the kernels in the Metal Shading Language.
#include <metal_stdlib>
using namespace metal;
#pragma clang fp contract(off)

#define KERNEL(name, threads, ...)                                                                            \
    [[kernel, max_total_threads_per_threadgroup(threads)]] void name(                                         \
        __VA_ARGS__, uint3 thread_ [[thread_position_in_threadgroup]],                                        \
        uint3 block_ [[threadgroup_position_in_grid]])
#define IN(i, T, x) device const T* x [[buffer(i)]]
#define OUT(i, T, x) device T* x [[buffer(i)]]
#define INT(i, n) constant uint& n [[buffer(i)]]
#define REAL(i, a) constant float& a [[buffer(i)]]

#define GLOBAL(T) device T*
#define SHARED(T, s, n) threadgroup T s[n]
#define SHARED_POINTER(T) threadgroup T*
#define LOCAL_POINTER(T) thread T*
#define DEVICE static inline

#define THREAD thread_.x
#define BLOCK block_.x
#define UNROLL _Pragma("unroll")
#define BARRIER() threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device)

#define INF INFINITY
#define EXP(x) exp(x)
#define LOG(x) log(x)
#define SQRT(x) sqrt(x)
#define FLOOR(x) floor(x)
#define FABS(x) fabs(x)
#define FMAX(a, b) fmax(a, b)
#define FMA(a, b, c) fma(a, b, c)
#define SINPI(x) sinpi(x)
#define COSPI(x) cospi(x)
#define FROM_BITS(u) as_type<float>(u)
#define BITS(x) as_type<uint>(x)
#define MULHI(a, b) mulhi(a, b)

// The program is compiled without fast mathematics and without contraction.
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))

// Over groups of `width` lanes, a power of two up to 32; called by all threads of a SIMD group.
DEVICE float lanes_sum(float v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v += simd_shuffle_xor(v, ushort(mask));
    return v;
}
DEVICE float lanes_max(float v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v = fmax(v, simd_shuffle_xor(v, ushort(mask)));
    return v;
}
DEVICE uint lanes_min(uint v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v = min(v, simd_shuffle_xor(v, ushort(mask)));
    return v;
}
