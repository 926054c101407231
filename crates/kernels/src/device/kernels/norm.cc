// Normalisation of groups of channels and of rows.

// Mean and reciprocal deviation of each block's `size` numbers.
KERNEL(group_moments, 512, IN(0, float, x), OUT(1, float, moments), INT(2, size), REAL(3, eps)) {
    SHARED(float, part, 16);
    GLOBAL(const float) row = x + BLOCK * size;
    float shift = row[0];
    float sum = 0.0f;
    for (uint i = THREAD; i < size; i += 512) sum += row[i] - shift;
    float mean = shift + block_sum(sum, part, THREAD, 512) / float(size);
    float squares = 0.0f;
    for (uint i = THREAD; i < size; i += 512) {
        float d = row[i] - mean;
        squares = FMA(d, d, squares);
    }
    float variance = block_sum(squares, part, THREAD, 512) / float(size);
    if (THREAD == 0) {
        moments[2 * BLOCK] = mean;
        moments[2 * BLOCK + 1] = 1.0f / SQRT(variance + eps);
    }
}

// y = phi(weight (x - mean) rstd + bias). `plane` numbers a channel, `channels` an example, `members` a group.
KERNEL(group_apply, 256, IN(0, float, x), IN(1, float, moments), IN(2, float, weight), IN(3, float, bias),
       OUT(4, float, y), INT(5, count), INT(6, plane), INT(7, channels), INT(8, members), INT(9, kind),
       REAL(10, slope)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint row = i / plane, c = row % channels, group = row / members;
        float scale = weight[c] * moments[2 * group + 1];
        y[i] = activated(kind, slope, FMA(x[i], scale, bias[c] - moments[2 * group] * scale));
    }
}

// Of each channel of each example the sums of dL/dv and dL/dv xhat, v = weight xhat + bias.
KERNEL(group_sums, 256, IN(0, float, x), IN(1, float, dy), IN(2, float, moments), IN(3, float, weight),
       IN(4, float, bias), OUT(5, float, sums), INT(6, plane), INT(7, channels), INT(8, members), INT(9, kind),
       REAL(10, slope)) {
    SHARED(float, part, 8);
    uint row = BLOCK, c = row % channels, group = row / members;
    float mean = moments[2 * group], rstd = moments[2 * group + 1];
    float scale = weight[c] * rstd, offset = bias[c] - mean * scale;
    float s = 0.0f, sx = 0.0f;
    for (uint i = THREAD; i < plane; i += 256) {
        float value = x[row * plane + i];
        float d = dy[row * plane + i] * activated_slope(kind, slope, FMA(value, scale, offset));
        s += d;
        sx = FMA(d, value - mean, sx);
    }
    s = block_sum(s, part, THREAD, 256);
    sx = block_sum(sx, part, THREAD, 256);
    if (THREAD == 0) {
        sums[2 * row] = s;
        sums[2 * row + 1] = sx * rstd;
    }
}

// Of each group the slope and constant of x in its gradient: what mean and variance take away.
KERNEL(group_totals, 64, IN(0, float, sums), IN(1, float, moments), IN(2, float, weight), OUT(3, float, line),
       INT(4, groups), INT(5, plane), INT(6, channels), INT(7, members)) {
    uint group = BLOCK * 64 + THREAD;
    if (group < groups) {
        float total = 0.0f, total_normal = 0.0f;
        for (uint k = 0; k < members; k++) {
            uint row = group * members + k;
            float w = weight[row % channels];
            total = FMA(sums[2 * row], w, total);
            total_normal = FMA(sums[2 * row + 1], w, total_normal);
        }
        float size = float(members) * float(plane);
        float mean = moments[2 * group], rstd = moments[2 * group + 1];
        total /= size;
        total_normal /= size;
        line[2 * group] = -rstd * rstd * total_normal;
        line[2 * group + 1] = rstd * (rstd * mean * total_normal - total);
    }
}

// The gradients of weight and bias: sums over the examples.
KERNEL(group_parameters, 64, IN(0, float, sums), OUT(1, float, dweight), OUT(2, float, dbias), INT(3, examples),
       INT(4, channels)) {
    uint c = BLOCK * 64 + THREAD;
    if (c < channels) {
        float s = 0.0f, sx = 0.0f;
        for (uint n = 0; n < examples; n++) {
            s += sums[2 * (n * channels + c)];
            sx += sums[2 * (n * channels + c) + 1];
        }
        dweight[c] = sx;
        dbias[c] = s;
    }
}

KERNEL(group_pull, 256, IN(0, float, x), IN(1, float, dy), IN(2, float, moments), IN(3, float, weight),
       IN(4, float, bias), IN(5, float, line), OUT(6, float, dx), INT(7, count), INT(8, plane), INT(9, channels),
       INT(10, members), INT(11, kind), REAL(12, slope)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint row = i / plane, c = row % channels, group = row / members;
        float scale = weight[c] * moments[2 * group + 1];
        float v = FMA(x[i], scale, bias[c] - moments[2 * group] * scale);
        float d = dy[i] * activated_slope(kind, slope, v);
        dx[i] = FMA(d, scale, FMA(x[i], line[2 * group], line[2 * group + 1]));
    }
}

// Mean (zero unless `centred`) and reciprocal deviation of rows, 32 threads each.
KERNEL(row_moments, 256, IN(0, float, x), OUT(1, float, moments), INT(2, rows), INT(3, width), INT(4, centred),
       REAL(5, eps)) {
    uint row = BLOCK * 8 + THREAD / 32, lane = THREAD % 32;
    bool inside = row < rows;
    GLOBAL(const float) from = x + (inside ? row : 0) * width;
    float mean = 0.0f;
    if (centred != 0) {
        float shift = from[0], sum = 0.0f;
        for (uint i = lane; i < width; i += 32) sum += from[i] - shift;
        mean = shift + lanes_sum(sum, 32) / float(width);
    }
    float squares = 0.0f;
    for (uint i = lane; i < width; i += 32) {
        float d = from[i] - mean;
        squares = FMA(d, d, squares);
    }
    float variance = lanes_sum(squares, 32) / float(width);
    if (inside && lane == 0) {
        moments[2 * row] = mean;
        moments[2 * row + 1] = 1.0f / SQRT(variance + eps);
    }
}

// y = phi((one + weight) xhat + bias), weight and bias those of the row's example. `shifted` says whether bias counts.
KERNEL(row_apply, 256, IN(0, float, x), IN(1, float, moments), IN(2, float, weight), IN(3, float, bias),
       OUT(4, float, y), INT(5, count), INT(6, width), INT(7, rows), INT(8, shifted), REAL(9, one), INT(10, kind),
       REAL(11, slope)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint row = i / width, at = row / rows * width + i % width;
        float normal = (x[i] - moments[2 * row]) * moments[2 * row + 1];
        float v = FMA(normal, weight[at] + one, shifted != 0 ? bias[at] : 0.0f);
        y[i] = activated(kind, slope, v);
    }
}

// The gradient of rows, 32 threads each.
KERNEL(row_pull, 256, IN(0, float, x), IN(1, float, dy), IN(2, float, moments), IN(3, float, weight),
       IN(4, float, bias), OUT(5, float, dx), INT(6, all), INT(7, width), INT(8, rows), INT(9, shifted),
       INT(10, centred), REAL(11, one), INT(12, kind), REAL(13, slope)) {
    uint row = BLOCK * 8 + THREAD / 32, lane = THREAD % 32;
    bool inside = row < all;
    if (!inside) row = 0;
    uint first = row * width, at = row / rows * width;
    float mean = moments[2 * row], rstd = moments[2 * row + 1];
    float sum = 0.0f, sum_normal = 0.0f;
    for (uint i = lane; i < width; i += 32) {
        float normal = (x[first + i] - mean) * rstd, w = weight[at + i] + one;
        float v = FMA(normal, w, shifted != 0 ? bias[at + i] : 0.0f);
        float g = dy[first + i] * activated_slope(kind, slope, v) * w;
        sum += g;
        sum_normal = FMA(g, normal, sum_normal);
    }
    float level = centred != 0 ? lanes_sum(sum, 32) / float(width) : 0.0f;
    float along = lanes_sum(sum_normal, 32) / float(width);
    if (!inside) return;
    for (uint i = lane; i < width; i += 32) {
        float normal = (x[first + i] - mean) * rstd, w = weight[at + i] + one;
        float v = FMA(normal, w, shifted != 0 ? bias[at + i] : 0.0f);
        float g = dy[first + i] * activated_slope(kind, slope, v) * w;
        dx[first + i] = rstd * (FMA(-normal, along, g) - level);
    }
}

// The gradients of weight and bias from `size` rows of an example: a part of their sum. A thread has a column.
KERNEL(row_parts, 64, IN(0, float, x), IN(1, float, dy), IN(2, float, moments), IN(3, float, weight),
       IN(4, float, bias), OUT(5, float, parts), INT(6, width), INT(7, rows), INT(8, size), INT(9, blocks),
       INT(10, shifted), REAL(11, one), INT(12, kind), REAL(13, slope)) {
    uint columns = (width + 63) / 64;
    uint task = BLOCK / columns, column = BLOCK % columns * 64 + THREAD;
    uint example = task / blocks, first = task % blocks * size;
    uint last = first + size < rows ? first + size : rows;
    if (column < width) {
        uint at = example * width + column;
        float w = weight[at] + one, b = shifted != 0 ? bias[at] : 0.0f;
        float dweight = 0.0f, dbias = 0.0f;
        for (uint k = first; k < last; k++) {
            uint row = example * rows + k;
            float normal = (x[row * width + column] - moments[2 * row]) * moments[2 * row + 1];
            float d = dy[row * width + column] * activated_slope(kind, slope, FMA(normal, w, b));
            dweight = FMA(d, normal, dweight);
            dbias += d;
        }
        parts[(2 * task) * width + column] = dweight;
        parts[(2 * task + 1) * width + column] = dbias;
    }
}

KERNEL(row_parameters, 64, IN(0, float, parts), OUT(1, float, dweight), OUT(2, float, dbias), INT(3, count),
       INT(4, width), INT(5, blocks)) {
    uint i = BLOCK * 64 + THREAD;
    if (i < count) {
        uint example = i / width, column = i % width;
        float w = 0.0f, b = 0.0f;
        for (uint k = 0; k < blocks; k++) {
            uint task = example * blocks + k;
            w += parts[(2 * task) * width + column];
            b += parts[(2 * task + 1) * width + column];
        }
        dweight[i] = w;
        dbias[i] = b;
    }
}

// Softmax of rows, 32 threads each.
KERNEL(softmax_rows, 256, IN(0, float, x), OUT(1, float, y), INT(2, rows), INT(3, width)) {
    uint row = BLOCK * 8 + THREAD / 32, lane = THREAD % 32;
    bool inside = row < rows;
    uint first = (inside ? row : 0) * width;
    float most = -INF;
    for (uint i = lane; i < width; i += 32) most = FMAX(most, x[first + i]);
    most = lanes_max(most, 32);
    float sum = 0.0f;
    for (uint i = lane; i < width; i += 32) sum += EXP(x[first + i] - most);
    float factor = 1.0f / lanes_sum(sum, 32);
    if (!inside) return;
    for (uint i = lane; i < width; i += 32) y[first + i] = EXP(x[first + i] - most) * factor;
}

// dx = y (dy - sum(y dy)).
KERNEL(softmax_pull, 256, IN(0, float, y), IN(1, float, dy), OUT(2, float, dx), INT(3, rows), INT(4, width)) {
    uint row = BLOCK * 8 + THREAD / 32, lane = THREAD % 32;
    bool inside = row < rows;
    uint first = (inside ? row : 0) * width;
    float sum = 0.0f;
    for (uint i = lane; i < width; i += 32) sum = FMA(y[first + i], dy[first + i], sum);
    sum = lanes_sum(sum, 32);
    if (!inside) return;
    for (uint i = lane; i < width; i += 32) dx[first + i] = y[first + i] * (dy[first + i] - sum);
}
