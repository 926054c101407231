// One step of Adam with decoupled weight decay, and the moving average of the parameters where one is kept.
KERNEL(adam_step, 256, OUT(0, float, p), IN(1, float, g), OUT(2, float, m), OUT(3, float, v), OUT(4, float, ema),
       INT(5, count), INT(6, averaged), REAL(7, beta1), REAL(8, rest1), REAL(9, beta2), REAL(10, rest2), REAL(11, keep),
       REAL(12, rate), REAL(13, root), REAL(14, eps), REAL(15, rest_ema)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        float first = FMA(beta1, m[i], rest1 * g[i]);
        float second = FMA(beta2, v[i], rest2 * g[i] * g[i]);
        float step = first / FMA(SQRT(second), root, eps);
        float value = FMA(-rate, step, keep * p[i]);
        m[i] = first;
        v[i] = second;
        p[i] = value;
        if (averaged != 0) ema[i] = FMA(rest_ema, value - ema[i], ema[i]);
    }
}
