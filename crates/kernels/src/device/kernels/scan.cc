// The selective scan, and causal convolution.
//
// A block of 128 threads holds 128 / lanes channels of one group of one example; the `lanes` (a power of two up to 32) of a
// channel are its states. Positions follow one another. Every 16 positions begin a chunk, before which the forward pass
// keeps the states: the gradient computes those within a chunk again.

// The step of a position.
DEVICE float scan_step(float delta, float shift, uint softplus) {
    delta += shift;
    return softplus != 0 ? softplus_of(delta) : delta;
}

KERNEL(scan_forward, 128, IN(0, float, u), IN(1, float, delta), IN(2, float, a), IN(3, float, b), IN(4, float, c),
       IN(5, float, skip), IN(6, float, gate), IN(7, float, shift), OUT(8, float, y), OUT(9, float, entries),
       INT(10, d), INT(11, l), INT(12, states), INT(13, lanes), INT(14, groups), INT(15, skipped), INT(16, gated),
       INT(17, shifted), INT(18, softplus)) {
    uint held = 128 / lanes, members = d / groups, blocks = (members + held - 1) / held;
    uint outer = BLOCK / blocks, example = outer / groups, group = outer % groups;
    uint member = BLOCK % blocks * held + THREAD / lanes, s = THREAD % lanes;
    bool inside = member < members, live = inside && s < states;
    uint channel = group * members + (inside ? member : 0);
    uint row = (example * d + channel) * l, column = (outer * states + (live ? s : 0)) * l;
    uint chunks = (l + 15) / 16;
    float rate = live ? a[channel * states + s] : 0.0f;
    float offset = shifted != 0 ? shift[channel] : 0.0f, direct = skipped != 0 ? skip[channel] : 0.0f;
    float h = 0.0f;
    for (uint t = 0; t < l; t++) {
        if (t % 16 == 0 && live) entries[((example * d + channel) * chunks + t / 16) * states + s] = h;
        float input = u[row + t], dt = scan_step(delta[row + t], offset, softplus);
        float part = 0.0f;
        if (live) {
            h = FMA(EXP(dt * rate), h, dt * input * b[column + t]);
            part = h * c[column + t];
        }
        float sum = lanes_sum(part, lanes);
        if (inside && s == 0) {
            float value = FMA(direct, input, sum);
            if (gated != 0) {
                float z = gate[row + t];
                value *= z * sigmoid_of(z);
            }
            y[row + t] = value;
        }
    }
}

// Gradients. Those that are sums over channels (b, c) or examples (a, skip, shift) are written in parts: of `db` and `dc`
// one part a block, `[block][state][position]`, of the others one a channel of an example.
KERNEL(scan_backward, 128, IN(0, float, u), IN(1, float, delta), IN(2, float, a), IN(3, float, b), IN(4, float, c),
       IN(5, float, skip), IN(6, float, gate), IN(7, float, shift), IN(8, float, entries), IN(9, float, dy),
       OUT(10, float, du), OUT(11, float, ddelta), OUT(12, float, da), OUT(13, float, db), OUT(14, float, dc),
       OUT(15, float, dskip), OUT(16, float, dgate), OUT(17, float, dshift), INT(18, d), INT(19, l), INT(20, states),
       INT(21, lanes), INT(22, groups), INT(23, skipped), INT(24, gated), INT(25, shifted), INT(26, softplus)) {
    // Of every thread and position of a chunk the contribution to db, then to dc.
    SHARED(float, parts, 4096);
    uint held = 128 / lanes, members = d / groups, blocks = (members + held - 1) / held;
    uint outer = BLOCK / blocks, example = outer / groups, group = outer % groups;
    uint member = BLOCK % blocks * held + THREAD / lanes, s = THREAD % lanes;
    bool inside = member < members, live = inside && s < states;
    uint channel = group * members + (inside ? member : 0);
    uint row = (example * d + channel) * l, column = (outer * states + (live ? s : 0)) * l;
    uint chunks = (l + 15) / 16;
    float rate = live ? a[channel * states + s] : 0.0f;
    float offset = shifted != 0 ? shift[channel] : 0.0f, direct = skipped != 0 ? skip[channel] : 0.0f;
    // The gradient with respect to the state, decayed from the next position.
    float carry = 0.0f;
    float sum_a = 0.0f, sum_skip = 0.0f, sum_shift = 0.0f;
    for (uint chunk = chunks; chunk-- > 0;) {
        uint first = chunk * 16, steps = first + 16 < l ? 16 : l - first;
        float before[16], decay[16];
        float h = live ? entries[((example * d + channel) * chunks + chunk) * states + s] : 0.0f;
        UNROLL for (uint k = 0; k < 16; k++) {
            before[k] = h;
            decay[k] = 0.0f;
            if (k < steps && live) {
                uint t = first + k;
                float dt = scan_step(delta[row + t], offset, softplus);
                decay[k] = EXP(dt * rate);
                h = FMA(decay[k], h, dt * u[row + t] * b[column + t]);
            }
        }
        UNROLL for (uint j = 0; j < 16; j++) {
            uint k = 15 - j, t = first + k;
            bool now = k < steps;
            float input = now ? u[row + t] : 0.0f, raw = now ? delta[row + t] + offset : 0.0f;
            float dt = now ? scan_step(raw, 0.0f, softplus) : 0.0f, slope = now ? dy[row + t] : 0.0f;
            float state = 0.0f, weight_b = 0.0f, weight_c = 0.0f;
            if (now && live) {
                weight_b = b[column + t];
                weight_c = c[column + t];
                state = FMA(decay[k], before[k], dt * input * weight_b);
            }
            if (gated != 0) {
                float sum = lanes_sum(state * weight_c, lanes);
                float z = now ? gate[row + t] : 0.0f, sigma = sigmoid_of(z);
                if (now && inside && s == 0)
                    dgate[row + t] = slope * FMA(direct, input, sum) * sigma * FMA(z, 1.0f - sigma, 1.0f);
                slope *= z * sigma;
            }
            float dh = live ? FMA(weight_c, slope, carry) : 0.0f;
            float kept = dh * decay[k];
            sum_a = FMA(kept * before[k], dt, sum_a);
            carry = now ? kept : carry;
            float to_input = lanes_sum(dh * dt * weight_b, lanes);
            float to_step = lanes_sum(FMA(kept * before[k], rate, dh * weight_b * input), lanes);
            if (now && inside && s == 0) {
                du[row + t] = FMA(direct, slope, to_input);
                float d_raw = softplus != 0 ? to_step * sigmoid_of(raw) : to_step;
                ddelta[row + t] = d_raw;
                sum_shift += d_raw;
                sum_skip = FMA(slope, input, sum_skip);
            }
            parts[k * 128 + THREAD] = dh * dt * input;
            parts[2048 + k * 128 + THREAD] = state * slope;
        }
        BARRIER();
        // The sums over the channels of the block, a thread a state and position.
        for (uint i = THREAD; i < 16 * states; i += 128) {
            uint state = i / 16, k = i % 16;
            if (k < steps) {
                float b_sum = 0.0f, c_sum = 0.0f;
                for (uint j = 0; j < held; j++) {
                    b_sum += parts[k * 128 + j * lanes + state];
                    c_sum += parts[2048 + k * 128 + j * lanes + state];
                }
                uint to = (BLOCK * states + state) * l + first + k;
                db[to] = b_sum;
                dc[to] = c_sum;
            }
        }
        BARRIER();
    }
    if (live) da[(example * d + channel) * states + s] = sum_a;
    if (inside && s == 0) {
        dskip[example * d + channel] = sum_skip;
        dshift[example * d + channel] = sum_shift;
    }
}

// y[i, j] = sum_k x[i, k, j]: the parts added up.
KERNEL(sum_parts, 256, IN(0, float, x), OUT(1, float, y), INT(2, count), INT(3, parts), INT(4, inner)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint from = i / inner * parts * inner + i % inner;
        float sum = 0.0f;
        for (uint k = 0; k < parts; k++) sum += x[from + k * inner];
        y[i] = sum;
    }
}

// What the activation of a causal convolution is applied to, at position t of a row.
DEVICE float causal_value(GLOBAL(const float) x, GLOBAL(const float) weight, float bias, uint taps, uint t) {
    float v = bias;
    for (uint j = 0; j < taps; j++)
        if (t + j + 1 >= taps) v = FMA(weight[j], x[t + j + 1 - taps], v);
    return v;
}

KERNEL(causal_forward, 256, IN(0, float, x), IN(1, float, weight), IN(2, float, bias), OUT(3, float, y), INT(4, count),
       INT(5, d), INT(6, l), INT(7, taps), INT(8, shifted), INT(9, kind), REAL(10, slope)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint row = i / l, channel = row % d;
        float b = shifted != 0 ? bias[channel] : 0.0f;
        y[i] = activated(kind, slope, causal_value(x + row * l, weight + channel * taps, b, taps, i - row * l));
    }
}

// dL/dv of what the activation is applied to.
KERNEL(causal_slopes, 256, IN(0, float, x), IN(1, float, weight), IN(2, float, bias), IN(3, float, dy), OUT(4, float, dv),
       INT(5, count), INT(6, d), INT(7, l), INT(8, taps), INT(9, shifted), INT(10, kind), REAL(11, slope)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint row = i / l, channel = row % d;
        float b = shifted != 0 ? bias[channel] : 0.0f;
        float v = causal_value(x + row * l, weight + channel * taps, b, taps, i - row * l);
        dv[i] = dy[i] * activated_slope(kind, slope, v);
    }
}

KERNEL(causal_input, 256, IN(0, float, dv), IN(1, float, weight), OUT(2, float, dx), INT(3, count), INT(4, d), INT(5, l),
       INT(6, taps)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint row = i / l, channel = row % d, t = i - row * l;
        float sum = 0.0f;
        for (uint j = 0; j < taps; j++) {
            uint at = t + taps - 1 - j;
            if (at < l) sum = FMA(weight[channel * taps + j], dv[row * l + at], sum);
        }
        dx[i] = sum;
    }
}

// The gradient of one weight of a channel, and of the bias as of a weight after the last. A block each.
KERNEL(causal_weight, 128, IN(0, float, x), IN(1, float, dv), OUT(2, float, dweight), OUT(3, float, dbias), INT(4, n),
       INT(5, d), INT(6, l), INT(7, taps)) {
    SHARED(float, part, 4);
    uint channel = BLOCK / (taps + 1), j = BLOCK % (taps + 1);
    float sum = 0.0f;
    for (uint example = 0; example < n; example++) {
        uint row = (example * d + channel) * l;
        for (uint t = THREAD; t < l; t += 128) {
            if (j == taps)
                sum += dv[row + t];
            else if (t + j + 1 >= taps)
                sum = FMA(dv[row + t], x[row + t + j + 1 - taps], sum);
        }
    }
    sum = block_sum(sum, part, THREAD, 128);
    if (THREAD == 0) {
        if (j == taps)
            dbias[channel] = sum;
        else
            dweight[channel * taps + j] = sum;
    }
}
