// Random numbers of a counter: those of `halocast_core::stream`, whose steps these are, rounded one by one.

// Block `first + i` of the stream of a key: ten rounds of Philox4x32 (Salmon et al. 2011).
DEVICE void philox(LOCAL_POINTER(uint) words, uint key0, uint key1, uint first0, uint first1, uint i) {
    uint c0 = first0 + i, c1 = first1 + (c0 < i ? 1 : 0), c2 = 0, c3 = 0;
    for (uint round = 0; round < 10; round++) {
        uint high0 = MULHI(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        uint high1 = MULHI(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

// The logarithm of a normal positive number (Cephes' logf).
DEVICE float stream_log(float x) {
    uint bits = BITS(x) - 0x3F3504F3u;
    // The exponent, by a shift that keeps the sign.
    float e = float(int(bits) >> 23);
    float r = SUB(FROM_BITS((bits & 0x007FFFFFu) + 0x3F3504F3u), 1.0f);
    float p = 7.0376836e-2f;
    p = SUB(MUL(p, r), 1.151461e-1f);
    p = ADD(MUL(p, r), 1.1676999e-1f);
    p = SUB(MUL(p, r), 1.2420141e-1f);
    p = ADD(MUL(p, r), 1.4249323e-1f);
    p = SUB(MUL(p, r), 1.6668058e-1f);
    p = ADD(MUL(p, r), 2.0000715e-1f);
    p = SUB(MUL(p, r), 2.4999994e-1f);
    p = ADD(MUL(p, r), 3.333333e-1f);
    float q = MUL(r, r);
    float low = SUB(MUL(q, SUB(MUL(p, r), 0.5f)), MUL(e, 2.1219444e-4f));
    return ADD(MUL(e, 0.6933594f), ADD(r, low));
}

// Two normals from two words (Box & Muller 1958).
DEVICE void box_muller(uint w0, uint w1, LOCAL_POINTER(float) pair) {
    float u = MUL(ADD(float(w0), 0.5f), 1.0f / 4294967296.0f);
    u = u < 1.0f ? u : 1.0f;
    float radius = SQRT(MUL(-2.0f, stream_log(u)));
    // Sine and cosine of w1 / 2^32 turns (Cephes): the nearest quarter turn and what remains.
    uint quarter = (w1 + 0x20000000u) >> 30;
    float x = MUL(float(int(w1 - (quarter << 30))), 6.2831855f / 4294967296.0f);
    float z = MUL(x, x);
    float s = SUB(MUL(z, SUB(8.332161e-3f, MUL(z, 1.9515296e-4f))), 1.6666655e-1f);
    float sine = ADD(x, MUL(MUL(x, z), s));
    float c = ADD(MUL(z, SUB(MUL(z, 2.4433157e-5f), 1.3887316e-3f)), 4.1666646e-2f);
    float cosine = ADD(SUB(1.0f, MUL(0.5f, z)), MUL(MUL(z, z), c));
    bool odd = (quarter & 1u) == 1u;
    float a = odd ? cosine : sine, b = odd ? sine : cosine;
    a = FROM_BITS(BITS(a) ^ ((quarter >> 1) << 31));
    b = FROM_BITS(BITS(b) ^ ((((quarter + 1) >> 1) & 1u) << 31));
    pair[0] = MUL(radius, b);
    pair[1] = MUL(radius, a);
}

// Uniform numbers in [0, 1) with 24 bits, four of each thread.
KERNEL(random_uniforms, 256, OUT(0, float, out), INT(1, count), INT(2, key0), INT(3, key1), INT(4, first0),
       INT(5, first1)) {
    uint i = BLOCK * 256 + THREAD;
    uint words[4];
    philox(words, key0, key1, first0, first1, i);
    for (uint j = 0; j < 4; j++)
        if (4 * i + j < count) out[4 * i + j] = float(words[j] >> 8) * (1.0f / 16777216.0f);
}

// Standard normal numbers, four of each thread.
KERNEL(random_normals, 256, OUT(0, float, out), INT(1, count), INT(2, key0), INT(3, key1), INT(4, first0),
       INT(5, first1)) {
    uint i = BLOCK * 256 + THREAD;
    uint words[4];
    float numbers[4];
    philox(words, key0, key1, first0, first1, i);
    box_muller(words[0], words[1], numbers);
    box_muller(words[2], words[3], numbers + 2);
    for (uint j = 0; j < 4; j++)
        if (4 * i + j < count) out[4 * i + j] = numbers[j];
}
