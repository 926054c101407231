// Operations on clouds of points [batch, points, 3]. Distances are rounded as on the CPU, one operation at a time, so that
// neighbours are the same. Every search compares all pairs; a tile of points passes through shared memory.

// A coordinate's place in [0, side).
DEVICE float wrapped(float x, float side) {
    if (x >= 0.0f && x < side) return x;
    float inside = SUB(x, MUL(side, FLOOR(x / side)));
    if (inside < 0.0f) inside = ADD(inside, side);
    return inside >= 0.0f && inside < side ? inside : 0.0f;
}

DEVICE float apart(float a, float b, float side, uint periodic) {
    float d = FABS(SUB(a, b));
    float other = SUB(side, d);
    return periodic != 0 && other < d ? other : d;
}

DEVICE float squared(float x, float y, float z, float px, float py, float pz, float sx, float sy, float sz, uint periodic) {
    float dx = apart(x, px, sx, periodic), dy = apart(y, py, sy, periodic), dz = apart(z, pz, sz, periodic);
    return ADD(ADD(MUL(dx, dx), MUL(dy, dy)), MUL(dz, dz));
}

// The difference a - b of the nearest images.
DEVICE float difference(float a, float b, float side, uint periodic) {
    float d = a - b, size = FABS(d);
    if (periodic == 0 || size <= side - size) return d;
    return d < 0.0f ? d + side : d - side;
}

// Points of up to three axes as points of three, wrapped into the box. `bad` counts in each block the points, padding apart,
// that have no distance.
KERNEL(points_lift, 256, IN(0, float, x), IN(1, uint, counts), OUT(2, float, y), OUT(3, float, bad), INT(4, points),
       INT(5, n), INT(6, axes), INT(7, periodic), REAL(8, sx), REAL(9, sy), REAL(10, sz)) {
    SHARED(float, part, 8);
    uint i = BLOCK * 256 + THREAD;
    float wrong = 0.0f;
    if (i < points) {
        bool counted = i % n < counts[i / n];
        for (uint axis = 0; axis < 3; axis++) {
            float value = axis < axes ? x[i * axes + axis] : 0.0f;
            float side = axis == 0 ? sx : axis == 1 ? sy : sz;
            if (counted && !(FABS(value) < 1e18f)) wrong = 1.0f;
            y[3 * i + axis] = periodic != 0 && axis < axes ? wrapped(value, side) : value;
        }
    }
    wrong = block_sum(wrong, part, THREAD, 256);
    if (THREAD == 0) bad[BLOCK] = wrong;
}

// The k nearest of n points to each of m queries, nearest first, equal distances by index; k is at most 64.
KERNEL(points_nearest, 128, IN(0, float, points), IN(1, float, queries), OUT(2, uint, indices), OUT(3, float, distances),
       INT(4, n), INT(5, m), INT(6, k), INT(7, periodic), REAL(8, sx), REAL(9, sy), REAL(10, sz)) {
    SHARED(float, tile, 384);
    float best[64];
    uint which[64];
    uint blocks = (m + 127) / 128, example = BLOCK / blocks, query = BLOCK % blocks * 128 + THREAD;
    bool inside = query < m;
    GLOBAL(const float) q = queries + 3 * (example * m + (inside ? query : 0));
    GLOBAL(const float) cloud = points + 3 * example * n;
    float x = q[0], y = q[1], z = q[2];
    for (uint i = 0; i < k; i++) {
        best[i] = INF;
        which[i] = 0;
    }
    for (uint first = 0; first < n; first += 128) {
        uint size = n - first < 128 ? n - first : 128;
        for (uint i = THREAD; i < 3 * size; i += 128) tile[i] = cloud[3 * first + i];
        BARRIER();
        if (inside) {
            for (uint j = 0; j < size; j++) {
                float d = squared(x, y, z, tile[3 * j], tile[3 * j + 1], tile[3 * j + 2], sx, sy, sz, periodic);
                if (d < best[k - 1]) {
                    uint at = k - 1;
                    while (at > 0 && best[at - 1] > d) {
                        best[at] = best[at - 1];
                        which[at] = which[at - 1];
                        at--;
                    }
                    best[at] = d;
                    which[at] = first + j;
                }
            }
        }
        BARRIER();
    }
    if (inside) {
        uint to = (example * m + query) * k;
        for (uint i = 0; i < k; i++) {
            indices[to + i] = which[i];
            distances[to + i] = best[i];
        }
    }
}

// The first `most` points closer than the root of `limit`, in ascending order, then the first of them again; and how many.
KERNEL(points_ball, 128, IN(0, float, points), IN(1, float, queries), OUT(2, uint, indices), OUT(3, uint, found),
       INT(4, n), INT(5, m), INT(6, most), REAL(7, limit), INT(8, periodic), REAL(9, sx), REAL(10, sy), REAL(11, sz)) {
    SHARED(float, tile, 384);
    uint blocks = (m + 127) / 128, example = BLOCK / blocks, query = BLOCK % blocks * 128 + THREAD;
    bool inside = query < m;
    GLOBAL(const float) q = queries + 3 * (example * m + (inside ? query : 0));
    GLOBAL(const float) cloud = points + 3 * example * n;
    float x = q[0], y = q[1], z = q[2];
    uint to = (example * m + query) * most, count = 0, head = 0;
    for (uint first = 0; first < n; first += 128) {
        uint size = n - first < 128 ? n - first : 128;
        for (uint i = THREAD; i < 3 * size; i += 128) tile[i] = cloud[3 * first + i];
        BARRIER();
        for (uint j = 0; inside && count < most && j < size; j++) {
            if (squared(x, y, z, tile[3 * j], tile[3 * j + 1], tile[3 * j + 2], sx, sy, sz, periodic) < limit) {
                if (count == 0) head = first + j;
                indices[to + count] = first + j;
                count++;
            }
        }
        BARRIER();
    }
    if (inside) {
        found[example * m + query] = count;
        for (uint i = count; i < most; i++) indices[to + i] = head;
    }
}

// Farthest point sampling, a block a cloud. `nearest` holds the squared distance of each point to those taken, and -1 for
// one that may not be taken.
KERNEL(points_farthest, 512, IN(0, float, points), OUT(1, float, nearest), OUT(2, uint, chosen), INT(3, n), INT(4, m),
       INT(5, start), INT(6, skipping), REAL(7, limit), INT(8, periodic), REAL(9, sx), REAL(10, sy), REAL(11, sz)) {
    SHARED(float, most, 16);
    SHARED(uint, least, 16);
    GLOBAL(const float) cloud = points + 3 * BLOCK * n;
    GLOBAL(float) distance = nearest + BLOCK * n;
    for (uint i = THREAD; i < n; i += 512) {
        float d = squared(cloud[3 * i], cloud[3 * i + 1], cloud[3 * i + 2], 0.0f, 0.0f, 0.0f, sx, sy, sz, periodic);
        distance[i] = skipping != 0 && d <= limit ? -1.0f : 3.4028235e38f;
    }
    uint last = start;
    for (uint step = 0; step < m; step++) {
        if (THREAD == 0) chosen[BLOCK * m + step] = last;
        float x = cloud[3 * last], y = cloud[3 * last + 1], z = cloud[3 * last + 2];
        float best = -1.0f;
        uint which = 0xffffffffu;
        for (uint i = THREAD; i < n; i += 512) {
            float d = distance[i];
            if (d >= 0.0f) {
                float now = squared(cloud[3 * i], cloud[3 * i + 1], cloud[3 * i + 2], x, y, z, sx, sy, sz, periodic);
                d = now < d ? now : d;
                distance[i] = d;
                if (d > best) {
                    best = d;
                    which = i;
                }
            }
        }
        // The farthest of the block, then the smallest index that is as far.
        float farthest = lanes_max(best, 32);
        if (THREAD % 32 == 0) most[THREAD / 32] = farthest;
        BARRIER();
        for (uint i = 0; i < 16; i++) farthest = FMAX(farthest, most[i]);
        uint index = lanes_min(best == farthest ? which : 0xffffffffu, 32);
        if (THREAD % 32 == 0) least[THREAD / 32] = index;
        BARRIER();
        for (uint i = 0; i < 16; i++) index = least[i] < index ? least[i] : index;
        last = farthest < 0.0f ? 0 : index;
    }
}

// The nearest of `to` to each point of `from`; the first `counts` of each example count. Padding gets the index 2^32 - 1.
KERNEL(cloud_nearest, 128, IN(0, float, from), IN(1, float, to), IN(2, uint, from_counts), IN(3, uint, to_counts),
       OUT(4, uint, index), OUT(5, float, distance), INT(6, n), INT(7, m), INT(8, periodic), REAL(9, sx), REAL(10, sy),
       REAL(11, sz)) {
    SHARED(float, tile, 384);
    uint blocks = (n + 127) / 128, example = BLOCK / blocks, point = BLOCK % blocks * 128 + THREAD;
    bool inside = point < n, counted = point < from_counts[example];
    uint targets = to_counts[example];
    GLOBAL(const float) p = from + 3 * (example * n + (inside ? point : 0));
    GLOBAL(const float) cloud = to + 3 * example * m;
    float x = p[0], y = p[1], z = p[2], best = INF;
    uint which = 0xffffffffu;
    for (uint first = 0; first < targets; first += 128) {
        uint size = targets - first < 128 ? targets - first : 128;
        for (uint i = THREAD; i < 3 * size; i += 128) tile[i] = cloud[3 * first + i];
        BARRIER();
        if (counted) {
            for (uint j = 0; j < size; j++) {
                float d = squared(x, y, z, tile[3 * j], tile[3 * j + 1], tile[3 * j + 2], sx, sy, sz, periodic);
                if (d < best) {
                    best = d;
                    which = first + j;
                }
            }
        }
        BARRIER();
    }
    if (inside) {
        index[example * n + point] = which;
        distance[example * n + point] = counted ? best : 0.0f;
    }
}

// Distances from their squares.
KERNEL(cloud_distances, 256, IN(0, float, squares), OUT(1, float, y), INT(2, count), INT(3, root)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) y[i] = root != 0 ? SQRT(squares[i]) : squares[i];
}

// Of each example the sum of the distances times their shares, at place `side` of two.
KERNEL(cloud_means, 256, IN(0, float, distances), IN(1, float, shares), OUT(2, float, means), INT(3, n), INT(4, side)) {
    SHARED(float, part, 8);
    float sum = 0.0f;
    for (uint i = THREAD; i < n; i += 256) sum = FMA(distances[BLOCK * n + i], shares[BLOCK * n + i], sum);
    sum = block_sum(sum, part, THREAD, 256);
    if (THREAD == 0) means[2 * BLOCK + side] = sum;
}

KERNEL(scaled_sum, 256, IN(0, float, x), OUT(1, float, y), INT(2, count), REAL(3, scale)) {
    SHARED(float, part, 8);
    float sum = 0.0f;
    for (uint i = THREAD; i < count; i += 256) sum += x[i];
    sum = block_sum(sum, part, THREAD, 256);
    if (THREAD == 0) y[0] = sum * scale;
}

// The weight of each distance in what is differentiated: its share times the gradient of its mean, or of their sum.
KERNEL(cloud_weights, 256, IN(0, float, shares), IN(1, float, dy), OUT(2, float, y), INT(3, count), INT(4, n),
       INT(5, side), INT(6, reduced), REAL(7, scale)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) y[i] = shares[i] * (reduced != 0 ? dy[0] * scale : dy[2 * (i / n) + side]);
}

DEVICE float cloud_slope(float weight, float square, uint root) {
    if (root == 0) return 2.0f * weight;
    return square > 0.0f ? weight / SQRT(square) : 0.0f;
}

// The gradient of a cloud: of its own distances to their nearest points (`there`), and of those that found it (`back`), in
// the order of their points.
KERNEL(cloud_pull, 128, IN(0, float, own), IN(1, float, other), IN(2, uint, own_index), IN(3, float, own_squares),
       IN(4, float, own_weights), IN(5, uint, other_index), IN(6, float, other_squares), IN(7, float, other_weights),
       OUT(8, float, gradient), INT(9, n), INT(10, m), INT(11, axes), INT(12, there), INT(13, back), INT(14, root),
       INT(15, periodic), REAL(16, sx), REAL(17, sy), REAL(18, sz)) {
    SHARED(uint, tile, 128);
    uint blocks = (n + 127) / 128, example = BLOCK / blocks, point = BLOCK % blocks * 128 + THREAD;
    bool inside = point < n;
    uint i = example * n + (inside ? point : 0);
    float x = own[3 * i], y = own[3 * i + 1], z = own[3 * i + 2];
    float gx = 0.0f, gy = 0.0f, gz = 0.0f;
    if (inside && there != 0 && own_index[i] != 0xffffffffu) {
        uint j = example * m + own_index[i];
        float slope = cloud_slope(own_weights[i], own_squares[i], root);
        gx = slope * difference(x, other[3 * j], sx, periodic);
        gy = slope * difference(y, other[3 * j + 1], sy, periodic);
        gz = slope * difference(z, other[3 * j + 2], sz, periodic);
    }
    for (uint first = 0; back != 0 && first < m; first += 128) {
        uint size = m - first < 128 ? m - first : 128;
        if (THREAD < size) tile[THREAD] = other_index[example * m + first + THREAD];
        BARRIER();
        for (uint k = 0; inside && k < size; k++) {
            if (tile[k] == point) {
                uint j = example * m + first + k;
                float slope = cloud_slope(other_weights[j], other_squares[j], root);
                gx -= slope * difference(other[3 * j], x, sx, periodic);
                gy -= slope * difference(other[3 * j + 1], y, sy, periodic);
                gz -= slope * difference(other[3 * j + 2], z, sz, periodic);
            }
        }
        BARRIER();
    }
    if (inside) {
        gradient[i * axes] = gx;
        if (axes > 1) gradient[i * axes + 1] = gy;
        if (axes > 2) gradient[i * axes + 2] = gz;
    }
}

// Weights by inverse squared distance, of sum one, of the k neighbours of each query.
KERNEL(inverse_weights, 256, IN(0, float, squares), OUT(1, float, weights), INT(2, queries), INT(3, k)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < queries) {
        float sum = 0.0f;
        for (uint j = 0; j < k; j++) sum += 1.0f / (squares[i * k + j] + 1e-8f);
        for (uint j = 0; j < k; j++) weights[i * k + j] = 1.0f / (squares[i * k + j] + 1e-8f) / sum;
    }
}
