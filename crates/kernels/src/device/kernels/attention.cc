// Softmax attention in tiles of 64 queries and 64 keys (Dao et al. 2022, arXiv:2205.14135): scores are never stored.
//
// The 256 threads of a block are 16 x 16: thread (ty, tx) holds the rows ty, ty + 16, .. and the columns tx, tx + 16, ..
// of a tile, so that the 16 lanes of a row are neighbours. Tensors are [head, position, component], of all examples; there
// are at most 128 components.

// acc[i][j] = x[x0 + ty + 16 i] . y[y0 + tx + 16 j], rows beyond the ends counting as zero.
DEVICE void tile_product(GLOBAL(const float) x, uint x0, uint rows, GLOBAL(const float) y, uint y0, uint columns, uint d,
                         SHARED_POINTER(float) a, SHARED_POINTER(float) b, uint rank, LOCAL_POINTER(float) acc) {
    uint tx = rank % 16, ty = rank / 16;
    UNROLL for (uint i = 0; i < 16; i++) acc[i] = 0.0f;
    for (uint first = 0; first < d; first += 16) {
        for (uint i = rank; i < 1024; i += 256) {
            uint row = i / 16, c = first + i % 16;
            a[row * 17 + i % 16] = x0 + row < rows && c < d ? x[(x0 + row) * d + c] : 0.0f;
            b[row * 17 + i % 16] = y0 + row < columns && c < d ? y[(y0 + row) * d + c] : 0.0f;
        }
        BARRIER();
        for (uint k = 0; k < 16; k++) {
            float p[4], q[4];
            UNROLL for (uint i = 0; i < 4; i++) {
                p[i] = a[(ty + 16 * i) * 17 + k];
                q[i] = b[(tx + 16 * i) * 17 + k];
            }
            UNROLL for (uint i = 0; i < 4; i++) {
                UNROLL for (uint j = 0; j < 4; j++) acc[4 * i + j] = FMA(p[i], q[j], acc[4 * i + j]);
            }
        }
        BARRIER();
    }
}

// acc[i][j] += sum_k tile[ty + 16 i][k] y[y0 + k][tx + 16 j]. All threads have read the tile when it returns, and none
// reads it before all have come.
DEVICE void tile_accumulate(SHARED_POINTER(float) tile, GLOBAL(const float) y, uint y0, uint rows, uint e,
                            SHARED_POINTER(float) b, uint rank, LOCAL_POINTER(float) acc) {
    uint tx = rank % 16, ty = rank / 16;
    UNROLL for (uint j = 0; j < 8; j++) {
        if (16 * j < e) {
            for (uint i = rank; i < 1024; i += 256) {
                uint row = i / 16, c = 16 * j + i % 16;
                b[row * 17 + i % 16] = y0 + row < rows && c < e ? y[(y0 + row) * e + c] : 0.0f;
            }
            BARRIER();
            for (uint k = 0; k < 64; k++) {
                float value = b[k * 17 + tx];
                UNROLL for (uint i = 0; i < 4; i++)
                    acc[8 * i + j] = FMA(tile[(ty + 16 * i) * 65 + k], value, acc[8 * i + j]);
            }
            BARRIER();
        }
    }
}

// Writes factor[i] acc[i][j] to the rows from x0 on.
DEVICE void tile_store(GLOBAL(float) out, uint x0, uint rows, uint e, uint rank, LOCAL_POINTER(float) acc,
                       LOCAL_POINTER(float) factor) {
    uint tx = rank % 16, ty = rank / 16;
    UNROLL for (uint i = 0; i < 4; i++) {
        uint row = x0 + ty + 16 * i;
        UNROLL for (uint j = 0; j < 8; j++) {
            uint c = tx + 16 * j;
            if (row < rows && c < e) out[row * e + c] = acc[8 * i + j] * factor[i];
        }
    }
}

// Whether a key counts for a query.
DEVICE bool counts(GLOBAL(const uint) mask, uint query, uint key, uint n, uint m, uint masked, uint causal) {
    if (query >= n || key >= m || (causal != 0 && key > query)) return false;
    return masked == 0 || mask[key] != 0;
}

// Output, and of each row ln(sum of exponentials), infinite where no key counts.
KERNEL(attention_forward, 256, IN(0, float, q), IN(1, float, k), IN(2, float, v), IN(3, uint, mask), OUT(4, float, o),
       OUT(5, float, lse), INT(6, n), INT(7, m), INT(8, d), INT(9, e), INT(10, heads), INT(11, masked), INT(12, causal),
       REAL(13, scale)) {
    SHARED(float, a, 1088);
    SHARED(float, b, 1088);
    SHARED(float, tile, 4160);
    uint rank = THREAD, tx = rank % 16, ty = rank / 16;
    uint tiles = (n + 63) / 64, head = BLOCK / tiles, q0 = BLOCK % tiles * 64;
    GLOBAL(const float) queries = q + head * n * d;
    GLOBAL(const float) keys = k + head * m * d;
    GLOBAL(const float) values = v + head * m * e;
    GLOBAL(const uint) kept = mask + (masked != 0 ? head / heads * m : 0);
    float acc[32], most[4], sum[4];
    UNROLL for (uint i = 0; i < 32; i++) acc[i] = 0.0f;
    UNROLL for (uint i = 0; i < 4; i++) {
        most[i] = -INF;
        sum[i] = 0.0f;
    }
    uint end = causal != 0 && q0 + 64 < m ? q0 + 64 : m;
    for (uint k0 = 0; k0 < end; k0 += 64) {
        float s[16];
        tile_product(queries, q0, n, keys, k0, m, d, a, b, rank, s);
        UNROLL for (uint i = 0; i < 4; i++) {
            float highest = -INF;
            UNROLL for (uint j = 0; j < 4; j++) {
                bool here = counts(kept, q0 + ty + 16 * i, k0 + tx + 16 * j, n, m, masked, causal);
                s[4 * i + j] = here ? s[4 * i + j] * scale : -INF;
                highest = FMAX(highest, s[4 * i + j]);
            }
            highest = FMAX(most[i], lanes_max(highest, 16));
            float shrink = most[i] == -INF ? 0.0f : EXP(most[i] - highest);
            float part = 0.0f;
            UNROLL for (uint j = 0; j < 4; j++) {
                float p = s[4 * i + j] == -INF ? 0.0f : EXP(s[4 * i + j] - highest);
                tile[(ty + 16 * i) * 65 + tx + 16 * j] = p;
                part += p;
            }
            sum[i] = FMA(sum[i], shrink, lanes_sum(part, 16));
            most[i] = highest;
            UNROLL for (uint j = 0; j < 8; j++) acc[8 * i + j] *= shrink;
        }
        tile_accumulate(tile, values, k0, m, e, b, rank, acc);
    }
    float factor[4];
    UNROLL for (uint i = 0; i < 4; i++) {
        factor[i] = sum[i] == 0.0f ? 0.0f : 1.0f / sum[i];
        uint row = q0 + ty + 16 * i;
        if (tx == 0 && row < n) lse[head * n + row] = sum[i] == 0.0f ? INF : most[i] + LOG(sum[i]);
    }
    tile_store(o + head * n * e, q0, n, e, rank, acc, factor);
}

// Of each row the sum of do o; 32 threads a row.
KERNEL(attention_delta, 256, IN(0, float, o), IN(1, float, dy), OUT(2, float, delta), INT(3, rows), INT(4, e)) {
    uint row = BLOCK * 8 + THREAD / 32, lane = THREAD % 32;
    bool inside = row < rows;
    uint first = (inside ? row : 0) * e;
    float sum = 0.0f;
    for (uint i = lane; i < e; i += 32) sum = FMA(o[first + i], dy[first + i], sum);
    sum = lanes_sum(sum, 32);
    if (inside && lane == 0) delta[row] = sum;
}

KERNEL(attention_queries, 256, IN(0, float, q), IN(1, float, k), IN(2, float, v), IN(3, uint, mask), IN(4, float, dy),
       IN(5, float, lse), IN(6, float, delta), OUT(7, float, dq), INT(8, n), INT(9, m), INT(10, d), INT(11, e),
       INT(12, heads), INT(13, masked), INT(14, causal), REAL(15, scale)) {
    SHARED(float, a, 1088);
    SHARED(float, b, 1088);
    SHARED(float, tile, 4160);
    uint rank = THREAD, tx = rank % 16, ty = rank / 16;
    uint tiles = (n + 63) / 64, head = BLOCK / tiles, q0 = BLOCK % tiles * 64;
    GLOBAL(const float) queries = q + head * n * d;
    GLOBAL(const float) keys = k + head * m * d;
    GLOBAL(const float) values = v + head * m * e;
    GLOBAL(const float) slopes = dy + head * n * e;
    GLOBAL(const uint) kept = mask + (masked != 0 ? head / heads * m : 0);
    float acc[32], level[4], mean[4], factor[4];
    UNROLL for (uint i = 0; i < 32; i++) acc[i] = 0.0f;
    UNROLL for (uint i = 0; i < 4; i++) {
        uint row = q0 + ty + 16 * i;
        level[i] = row < n ? lse[head * n + row] : INF;
        mean[i] = row < n ? delta[head * n + row] : 0.0f;
        factor[i] = scale;
    }
    uint end = causal != 0 && q0 + 64 < m ? q0 + 64 : m;
    for (uint k0 = 0; k0 < end; k0 += 64) {
        float s[16], dp[16];
        tile_product(queries, q0, n, keys, k0, m, d, a, b, rank, s);
        tile_product(slopes, q0, n, values, k0, m, e, a, b, rank, dp);
        UNROLL for (uint i = 0; i < 4; i++) {
            UNROLL for (uint j = 0; j < 4; j++) {
                bool here = counts(kept, q0 + ty + 16 * i, k0 + tx + 16 * j, n, m, masked, causal);
                float p = here ? EXP(FMA(s[4 * i + j], scale, -level[i])) : 0.0f;
                tile[(ty + 16 * i) * 65 + tx + 16 * j] = p * (dp[4 * i + j] - mean[i]);
            }
        }
        tile_accumulate(tile, keys, k0, m, d, b, rank, acc);
    }
    tile_store(dq + head * n * d, q0, n, d, rank, acc, factor);
}

// The gradients of keys and values: here the rows of a tile are keys, its columns queries.
KERNEL(attention_keys, 256, IN(0, float, q), IN(1, float, k), IN(2, float, v), IN(3, uint, mask), IN(4, float, dy),
       IN(5, float, lse), IN(6, float, delta), OUT(7, float, dk), OUT(8, float, dv), INT(9, n), INT(10, m), INT(11, d),
       INT(12, e), INT(13, heads), INT(14, masked), INT(15, causal), REAL(16, scale)) {
    SHARED(float, a, 1088);
    SHARED(float, b, 1088);
    SHARED(float, tile, 4160);
    uint rank = THREAD, tx = rank % 16, ty = rank / 16;
    uint tiles = (m + 63) / 64, head = BLOCK / tiles, k0 = BLOCK % tiles * 64;
    GLOBAL(const float) queries = q + head * n * d;
    GLOBAL(const float) keys = k + head * m * d;
    GLOBAL(const float) values = v + head * m * e;
    GLOBAL(const float) slopes = dy + head * n * e;
    GLOBAL(const uint) kept = mask + (masked != 0 ? head / heads * m : 0);
    float acc_k[32], acc_v[32], factor[4];
    UNROLL for (uint i = 0; i < 32; i++) acc_k[i] = acc_v[i] = 0.0f;
    for (uint q0 = causal != 0 ? k0 : 0; q0 < n; q0 += 64) {
        float p[16], dp[16];
        tile_product(keys, k0, m, queries, q0, n, d, a, b, rank, p);
        UNROLL for (uint j = 0; j < 4; j++) {
            uint query = q0 + tx + 16 * j;
            float level = query < n ? lse[head * n + query] : INF;
            UNROLL for (uint i = 0; i < 4; i++) {
                bool here = counts(kept, query, k0 + ty + 16 * i, n, m, masked, causal);
                p[4 * i + j] = here ? EXP(FMA(p[4 * i + j], scale, -level)) : 0.0f;
                tile[(ty + 16 * i) * 65 + tx + 16 * j] = p[4 * i + j];
            }
        }
        tile_accumulate(tile, slopes, q0, n, e, b, rank, acc_v);
        tile_product(values, k0, m, slopes, q0, n, e, a, b, rank, dp);
        UNROLL for (uint j = 0; j < 4; j++) {
            uint query = q0 + tx + 16 * j;
            float mean = query < n ? delta[head * n + query] : 0.0f;
            UNROLL for (uint i = 0; i < 4; i++)
                tile[(ty + 16 * i) * 65 + tx + 16 * j] = p[4 * i + j] * (dp[4 * i + j] - mean);
        }
        tile_accumulate(tile, queries, q0, n, d, b, rank, acc_k);
    }
    UNROLL for (uint i = 0; i < 4; i++) factor[i] = scale;
    tile_store(dk + head * m * d, k0, m, d, rank, acc_k, factor);
    UNROLL for (uint i = 0; i < 4; i++) factor[i] = 1.0f;
    tile_store(dv + head * m * e, k0, m, e, rank, acc_v, factor);
}
