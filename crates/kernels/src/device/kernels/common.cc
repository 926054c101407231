// What several kernels use: sums over a block, activation functions.

// The sum over a block of up to 32 groups of 32 lanes, the same in every thread. `part` holds one number a group.
DEVICE float block_sum(float v, SHARED_POINTER(float) part, uint rank, uint threads) {
    v = lanes_sum(v, 32);
    if (rank % 32 == 0) part[rank / 32] = v;
    BARRIER();
    float sum = 0.0f;
    for (uint i = 0; i < threads / 32; i++) sum += part[i];
    BARRIER();
    return sum;
}

DEVICE float sigmoid_of(float x) { return 1.0f / (1.0f + EXP(-x)); }

// ln(1 + e) for e >= 0; no digit of a small e is lost.
DEVICE float log1p_of(float e) {
    float u = 1.0f + e;
    return u == 1.0f ? e : LOG(u) * (e / (u - 1.0f));
}

DEVICE float softplus_of(float x) { return FMAX(x, 0.0f) + log1p_of(EXP(-FABS(x))); }

// Phi(x), with e^{-x^2/2}: erfcx by its expansion in t = 2 / (2 + z) (Numerical Recipes' erfccheb).
DEVICE float normal_below(float x, float density) {
    float t = 2.0f / (2.0f + FABS(x) * 0.70710678f);
    float p = 0.17087277f;
    p = FMA(p, t, -0.82215223f);
    p = FMA(p, t, 1.4885159f);
    p = FMA(p, t, -1.135204f);
    p = FMA(p, t, 0.27886807f);
    p = FMA(p, t, -0.18628806f);
    p = FMA(p, t, 0.09678418f);
    p = FMA(p, t, 0.37409196f);
    p = FMA(p, t, 1.0000237f);
    p = FMA(p, t, -1.2655122f);
    float tail = 0.5f * t * density * EXP(p);
    return x > 0.0f ? 1.0f - tail : tail;
}

DEVICE float tanh_of(float x) {
    float size = FABS(x), z = x * x;
    if (size < 0.625f) {
        float p = -5.7049887e-3f;
        p = FMA(p, z, 2.063909e-2f);
        p = FMA(p, z, -5.3739716e-2f);
        p = FMA(p, z, 1.3331442e-1f);
        p = FMA(p, z, -3.333328e-1f);
        return FMA(p * z, x, x);
    }
    float far = 1.0f - 2.0f / (EXP(2.0f * size) + 1.0f);
    return x < 0.0f ? -far : far;
}

// The functions by number, as `Activation` has them: none, silu, gelu, relu, leaky, tanh, sigmoid, softplus, exp.
DEVICE float activated(uint kind, float slope, float x) {
    switch (kind) {
        case 1: return x * sigmoid_of(x);
        case 2: return x * normal_below(x, EXP(-0.5f * x * x));
        case 3: return x < 0.0f ? 0.0f : x;
        case 4: return x < 0.0f ? slope * x : x;
        case 5: return tanh_of(x);
        case 6: return sigmoid_of(x);
        case 7: return softplus_of(x);
        case 8: return EXP(x);
        default: return x;
    }
}

// Their derivatives.
DEVICE float activated_slope(uint kind, float slope, float x) {
    switch (kind) {
        case 1: {
            float s = sigmoid_of(x);
            return s * FMA(x, 1.0f - s, 1.0f);
        }
        case 2: {
            float density = EXP(-0.5f * x * x);
            return FMA(x, density * 0.3989423f, normal_below(x, density));
        }
        case 3: return x > 0.0f ? 1.0f : 0.0f;
        case 4: return x > 0.0f ? 1.0f : slope;
        case 5: {
            float y = tanh_of(x);
            return FMA(-y, y, 1.0f);
        }
        case 6: {
            float s = sigmoid_of(x);
            return s * (1.0f - s);
        }
        case 7: return sigmoid_of(x);
        case 8: return EXP(x);
        default: return 1.0f;
    }
}
