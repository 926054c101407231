// The words of the kernels in CUDA C++, as NVRTC compiles it: no header is included.
typedef unsigned int uint;

#define KERNEL(name, threads, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#define IN(i, T, x) const T* __restrict__ x
#define OUT(i, T, x) T* __restrict__ x
#define INT(i, n) const uint n
#define REAL(i, a) const float a

#define GLOBAL(T) T*
#define SHARED(T, s, n) __shared__ T s[n]
#define SHARED_POINTER(T) T*
#define LOCAL_POINTER(T) T*
#define DEVICE static __device__ __forceinline__

#define THREAD threadIdx.x
#define BLOCK blockIdx.x
#define UNROLL _Pragma("unroll")
#define BARRIER() __syncthreads()

#define INF __int_as_float(0x7f800000)
#define EXP(x) expf(x)
#define LOG(x) logf(x)
#define SQRT(x) sqrtf(x)
#define FLOOR(x) floorf(x)
#define FABS(x) fabsf(x)
#define FMAX(a, b) fmaxf(a, b)
#define FMA(a, b, c) fmaf(a, b, c)
#define SINPI(x) sinpif(x)
#define COSPI(x) cospif(x)
#define FROM_BITS(u) __uint_as_float(u)
#define BITS(x) __float_as_uint(x)
#define MULHI(a, b) __umulhi(a, b)

// Rounded one by one: the compiler never fuses these.
#define ADD(a, b) __fadd_rn(a, b)
#define SUB(a, b) __fsub_rn(a, b)
#define MUL(a, b) __fmul_rn(a, b)

// Over groups of `width` lanes, a power of two up to 32; called by all threads of a warp.
DEVICE float lanes_sum(float v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
}
DEVICE float lanes_max(float v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
}
DEVICE uint lanes_min(uint v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v = min(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
}
