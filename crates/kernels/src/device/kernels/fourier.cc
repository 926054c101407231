// Fourier transforms of lines of n points, a power of two up to 2048, by Stockham's algorithm in shared memory.
//
// A block holds `held` lines of 2048 points together. `reads`: 0 complex lines, `inner` numbers apart; 1 real rows; 2 half
// spectra of rows. `writes`: 0 complex, 1 half spectra, 2 real. Columns of a half spectrum that stand for their conjugates
// too are multiplied by `shared_factor`.
KERNEL(fourier_lines, 256, IN(0, float, x), OUT(1, float, y), INT(2, n), INT(3, lines), INT(4, inner), INT(5, held),
       INT(6, reads), INT(7, writes), INT(8, inverse), REAL(9, shared_factor), REAL(10, scale)) {
    SHARED(float, re, 2048);
    SHARED(float, im, 2048);
    uint columns = n / 2 + 1, size = held * n, first = BLOCK * held;
    for (uint i = THREAD; i < size; i += 256) {
        // Neighbouring threads read neighbouring numbers.
        uint l = inner > 1 ? i % held : i / n, at = inner > 1 ? i / held : i % n, line = first + l;
        float a = 0.0f, b = 0.0f;
        if (line < lines) {
            if (reads == 0) {
                uint from = (line / inner * n + at) * inner + line % inner;
                a = x[2 * from];
                b = x[2 * from + 1];
            } else if (reads == 1) {
                a = x[line * n + at];
            } else {
                uint k = at < columns ? at : n - at;
                bool end = k == 0 || 2 * k == n;
                float factor = end ? 1.0f : shared_factor;
                a = factor * x[2 * (line * columns + k)];
                b = end ? 0.0f : factor * x[2 * (line * columns + k) + 1];
                if (at >= columns) b = -b;
            }
        }
        re[l * n + at] = a;
        im[l * n + at] = b;
    }
    BARRIER();
    // Each stage pairs points n/2 apart; a thread has up to four pairs, read before any is written.
    for (uint stride = 1; stride < n; stride *= 2) {
        float ar[4], ai[4], br[4], bi[4];
        UNROLL for (uint j = 0; j < 4; j++) {
            uint i = THREAD + 256 * j, at = i / (n / 2) * n + i % (n / 2);
            if (2 * i < size) {
                ar[j] = re[at];
                ai[j] = im[at];
                br[j] = re[at + n / 2];
                bi[j] = im[at + n / 2];
            }
        }
        BARRIER();
        UNROLL for (uint j = 0; j < 4; j++) {
            uint i = THREAD + 256 * j;
            if (2 * i < size) {
                uint start = i / (n / 2) * n, pair = i % (n / 2), p = pair / stride;
                uint to = start + pair % stride + 2 * stride * p;
                // The angle is p / (n / stride) turns.
                float turn = 2.0f * float(p * stride) / float(n);
                float c = COSPI(turn), s = inverse != 0 ? SINPI(turn) : -SINPI(turn);
                float dr = ar[j] - br[j], di = ai[j] - bi[j];
                re[to] = ar[j] + br[j];
                im[to] = ai[j] + bi[j];
                re[to + stride] = dr * c - di * s;
                im[to + stride] = FMA(dr, s, di * c);
            }
        }
        BARRIER();
    }
    for (uint i = THREAD; i < size; i += 256) {
        uint l = inner > 1 ? i % held : i / n, at = inner > 1 ? i / held : i % n, line = first + l;
        float a = scale * re[l * n + at], b = scale * im[l * n + at];
        if (line < lines) {
            if (writes == 0) {
                uint to = (line / inner * n + at) * inner + line % inner;
                y[2 * to] = a;
                y[2 * to + 1] = b;
            } else if (writes == 1 && at < columns) {
                float factor = at == 0 || 2 * at == n ? 1.0f : shared_factor;
                y[2 * (line * columns + at)] = factor * a;
                y[2 * (line * columns + at) + 1] = factor * b;
            } else if (writes == 2) {
                y[line * n + at] = a;
            }
        }
    }
}
