// The words of the kernels in C++ for a host that plays the device: every thread of a block is a coroutine that runs to the
// next barrier. Tests alone use it. It notices
//   * an access outside the memory of an argument or of a shared array (the type of every pointer knows its bounds),
//   * a barrier that some threads of a block do not reach, or another one,
//   * memory that is read before it is written: shared memory starts as NaN,
//   * a missing barrier, for the order in which warps and their threads run is the caller's choice, and a warp runs as far
//     as it can: the results must not depend on it.
// Global, shared and local pointers are types of their own here, as they are in Metal.
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include <type_traits>
#include <utility>
#include <vector>

typedef unsigned int uint;

struct Argument {
    void* data;
    unsigned long count;
};

namespace emulation {

const unsigned MOST_THREADS = 1024;
const size_t STACK = 96 * 1024;
const size_t ARENA = 48 * 1024;

struct Fiber {
    ucontext_t context;
    jmp_buf jump;
    std::vector<char> stack;
    bool started, done;
    unsigned line;
};

struct State {
    unsigned thread, block, order, shuffle;
    char error[256];
    jmp_buf scheduler;
    std::vector<Fiber> fibers;
    void (*body)(void*);
    void* arguments;
    // Shared arrays by the line that declares them.
    std::vector<std::pair<unsigned, size_t>> arrays;
    size_t used;
    uint32_t lanes[MOST_THREADS];
};
static State state;
alignas(64) static char arena[ARENA];

static void fail(const char* what, long a, long b) {
    if (state.error[0] == 0)
        snprintf(state.error, sizeof state.error, "block %u, thread %u: %s (%ld, %ld)", state.block,
                 state.thread, what, a, b);
}

// A context begins a coroutine; jumps, which make no system call, go back and forth.
__attribute__((noinline)) static void wait(unsigned line) {
    Fiber& fiber = state.fibers[state.thread];
    fiber.line = line;
    if (_setjmp(fiber.jump) == 0) _longjmp(state.scheduler, 1);
}

__attribute__((noinline)) static void resume() {
    Fiber& fiber = state.fibers[state.thread];
    if (_setjmp(state.scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.jump, 1);
    fiber.started = true;
    setcontext(&fiber.context);
}

enum Space { GLOBAL_SPACE, SHARED_SPACE };

template <class T, Space S>
struct Pointer {
    T* at;
    T* begin;
    T* end;
    Pointer(T* at, T* begin, T* end) : at(at), begin(begin), end(end) {}
    template <class U, class = std::enable_if_t<std::is_same<const U, T>::value>>
    Pointer(const Pointer<U, S>& other) : at(other.at), begin(other.begin), end(other.end) {}
    T& operator[](long i) const {
        static std::remove_const_t<T> nowhere;
        T* to = at + i;
        if (to < begin || to >= end) {
            fail("index outside an array (index, length)", to - begin, end - begin);
            memset(&nowhere, 0xff, sizeof nowhere);
            return nowhere;
        }
        return *to;
    }
    Pointer operator+(long i) const { return Pointer(at + i, begin, end); }
};

template <class T>
Pointer<T, SHARED_SPACE> shared(unsigned line, size_t count) {
    size_t start = 0;
    bool known = false;
    for (auto& array : state.arrays)
        if (array.first == line) {
            start = array.second;
            known = true;
        }
    if (!known) {
        start = state.used;
        state.arrays.push_back({line, start});
        state.used = (start + count * sizeof(T) + 15) / 16 * 16;
        if (state.used > 32 * 1024) fail("more shared memory than Metal has (bytes, of)", state.used, 32 * 1024);
        if (state.used > ARENA) {
            start = 0;
            count = 0;
        }
    }
    T* data = reinterpret_cast<T*>(arena + start);
    return Pointer<T, SHARED_SPACE>(data, data, data + count);
}

template <class A>
struct Load;
template <class T>
struct Load<Pointer<T, GLOBAL_SPACE>> {
    static Pointer<T, GLOBAL_SPACE> from(const Argument& a) {
        T* data = static_cast<T*>(a.data);
        return Pointer<T, GLOBAL_SPACE>(data, data, data + a.count);
    }
};
template <>
struct Load<uint> {
    static uint from(const Argument& a) { return *static_cast<uint*>(a.data); }
};
template <>
struct Load<float> {
    static float from(const Argument& a) { return *static_cast<float*>(a.data); }
};

template <class... A>
struct Call {
    void (*kernel)(A...);
    const Argument* arguments;
    template <size_t... I>
    void run(std::index_sequence<I...>) {
        kernel(Load<A>::from(arguments[I])...);
    }
    static void body(void* self) {
        static_cast<Call*>(self)->run(std::index_sequence_for<A...>());
    }
};

// A coroutine outlives its block: when the body has ended it waits for the next.
static void enter() {
    unsigned self = state.thread;
    for (;;) {
        state.body(state.arguments);
        state.fibers[self].done = true;
        wait(0);
    }
}

static unsigned next_random() {
    state.shuffle = state.shuffle * 1664525u + 1013904223u;
    return state.shuffle >> 8;
}

const unsigned WARP = 32;
const unsigned LANES = ~0u;

static void shuffle(unsigned* order, unsigned count) {
    for (unsigned i = count - 1; i > 0; i--) std::swap(order[i], order[next_random() % (i + 1)]);
}

// The threads from `first` to `last`, a warp, to their next barrier or to their end; false if they part ways.
static bool run_warp(unsigned first, unsigned last) {
    unsigned order[WARP];
    for (unsigned i = 0; i < WARP; i++) order[i] = state.order == 1 ? last - 1 - i : first + i;
    if (state.order > 1) shuffle(order, WARP);
    for (;;) {
        unsigned ended = 0;
        for (unsigned thread : order) {
            state.thread = thread;
            if (!state.fibers[thread].done) resume();
            ended += state.fibers[thread].done;
        }
        if (ended == WARP) return true;
        unsigned line = state.fibers[first].line;
        for (unsigned i = first; i < last; i++)
            if (ended > 0 || state.fibers[i].line != line) {
                fail("a barrier that not all threads of a warp reach (line, ended)", (int)line, ended);
                return false;
            }
        if (line < LANES - 1) return true;
    }
}

// One block: rounds in which every warp runs to its next barrier, until all have ended. Exchanges between lanes hold up
// their own warp alone.
static void run_block(unsigned threads) {
    memset(arena, 0xff, ARENA);
    state.arrays.clear();
    state.used = 0;
    std::vector<unsigned> order;
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = state.fibers[i];
        fiber.done = false;
        if (fiber.started) continue;
        fiber.stack.resize(STACK);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    unsigned warps = threads / WARP;
    for (unsigned i = 0; i < warps; i++) order.push_back(state.order == 1 ? warps - 1 - i : i);
    for (;;) {
        if (state.order > 1) shuffle(order.data(), warps);
        unsigned ended = 0, line = 0;
        for (unsigned k = 0; k < warps; k++) {
            unsigned first = order[k] * WARP;
            if (!run_warp(first, first + WARP)) return;
            Fiber& fiber = state.fibers[first];
            ended += fiber.done;
            if (k == 0) line = fiber.line;
            if (!fiber.done && fiber.line != line) return fail("warps wait at different barriers (lines)", line, fiber.line);
        }
        if (ended == warps) return;
        if (ended > 0) return fail("a barrier that not all warps reach (line, ended)", line, ended);
    }
}

template <class... A>
const char* launch(void (*kernel)(A...), unsigned declared, const Argument* arguments, unsigned count, unsigned blocks,
                   unsigned threads, unsigned order) {
    Call<A...> call{kernel, arguments};
    state.error[0] = 0;
    state.body = Call<A...>::body;
    state.arguments = &call;
    state.order = order;
    state.shuffle = order;
    state.block = state.thread = 0;
    if (state.fibers.size() < threads) state.fibers.resize(threads);
    if (count != sizeof...(A)) fail("arguments (got, expected)", count, sizeof...(A));
    if (threads != declared || threads > MOST_THREADS || threads % WARP != 0) fail("threads (got, expected)", threads, declared);
    for (unsigned i = 0; i < blocks && state.error[0] == 0; i++) {
        state.block = order == 1 ? blocks - 1 - i : i;
        run_block(threads);
    }
    // After an error coroutines are left in the middle of their block.
    if (state.error[0] != 0)
        for (Fiber& fiber : state.fibers) fiber.started = false;
    return state.error;
}

// The value that `other` lane holds.
template <class T>
T exchange(T v, unsigned mask) {
    static_assert(sizeof(T) == 4, "lanes exchange 32 bits");
    memcpy(&state.lanes[state.thread], &v, 4);
    wait(LANES);
    memcpy(&v, &state.lanes[state.thread ^ mask], 4);
    wait(LANES - 1);
    return v;
}

}  // namespace emulation

#define KERNEL(name, threads, ...)                                                                            \
    static void name(__VA_ARGS__);                                                                            \
    extern "C" const char* emulated_##name(const Argument* arguments, unsigned count, unsigned blocks,        \
                                           unsigned launched, unsigned order) {                               \
        return emulation::launch(name, threads, arguments, count, blocks, launched, order);                   \
    }                                                                                                         \
    static void name(__VA_ARGS__)
#define IN(i, T, x) emulation::Pointer<const T, emulation::GLOBAL_SPACE> x
#define OUT(i, T, x) emulation::Pointer<T, emulation::GLOBAL_SPACE> x
#define INT(i, n) uint n
#define REAL(i, a) float a

#define GLOBAL(T) emulation::Pointer<T, emulation::GLOBAL_SPACE>
#define SHARED(T, s, n) auto s = emulation::shared<T>(__LINE__, n)
#define SHARED_POINTER(T) emulation::Pointer<T, emulation::SHARED_SPACE>
#define LOCAL_POINTER(T) T*
#define DEVICE static inline

#define THREAD emulation::state.thread
#define BLOCK emulation::state.block
#define UNROLL
#define BARRIER() emulation::wait(__LINE__)

#define INF INFINITY
#define EXP(x) expf(x)
#define LOG(x) logf(x)
#define SQRT(x) sqrtf(x)
#define FLOOR(x) floorf(x)
#define FABS(x) fabsf(x)
#define FMAX(a, b) fmaxf(a, b)
#define FMA(a, b, c) fmaf(a, b, c)
#define SINPI(x) ((float)sin(M_PI * (double)(x)))
#define COSPI(x) ((float)cos(M_PI * (double)(x)))
#define MULHI(a, b) ((uint)((uint64_t)(a) * (uint64_t)(b) >> 32))
DEVICE float FROM_BITS(uint u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}
DEVICE uint BITS(float x) {
    uint u;
    memcpy(&u, &x, 4);
    return u;
}

// The file is compiled without contraction.
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))

// Over groups of `width` lanes, in the device's order; called by all threads of a warp.
DEVICE float lanes_sum(float v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v += emulation::exchange(v, mask);
    return v;
}
DEVICE float lanes_max(float v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) v = fmaxf(v, emulation::exchange(v, mask));
    return v;
}
DEVICE uint lanes_min(uint v, uint width) {
    for (uint mask = width / 2; mask > 0; mask /= 2) {
        uint other = emulation::exchange(v, mask);
        v = v < other ? v : other;
    }
    return v;
}
