// Rows picked by index, and rows added by index, of tensors [outer, rows, inner]. An output row may be the weighted sum of
// `spread` picked ones. `own` says whether every outer slice has indices of its own.

// `picks` indices a slice give `picks / spread` rows.
KERNEL(gather_rows, 256, IN(0, float, x), IN(1, uint, indices), IN(2, float, weights), OUT(3, float, y), INT(4, count),
       INT(5, rows), INT(6, inner), INT(7, picks), INT(8, own), INT(9, spread), INT(10, weighted)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint column = i % inner, row = i / inner, made = picks / spread;
        uint outer = row / made, first = row % made * spread;
        float sum = 0.0f;
        for (uint k = first; k < first + spread; k++) {
            float value = x[(outer * rows + indices[(own != 0 ? outer * picks : 0) + k]) * inner + column];
            sum += weighted != 0 ? weights[outer * picks + k] * value : value;
        }
        y[i] = sum;
    }
}

// y = base + the rows of `source` that were picked from each, in the order of the picks: those of row r are
// `entries[starts[r] .. starts[r + 1]]`.
KERNEL(add_rows, 256, IN(0, float, base), IN(1, float, source), IN(2, uint, starts), IN(3, uint, entries),
       IN(4, float, weights), OUT(5, float, y), INT(6, count), INT(7, rows), INT(8, inner), INT(9, picks), INT(10, own),
       INT(11, spread), INT(12, weighted), INT(13, based)) {
    uint i = BLOCK * 256 + THREAD;
    if (i < count) {
        uint column = i % inner, row = i / inner % rows, outer = i / inner / rows;
        uint slice = own != 0 ? outer : 0;
        float sum = based != 0 ? base[i] : 0.0f;
        uint first = starts[slice * (rows + 1) + row], last = starts[slice * (rows + 1) + row + 1];
        for (uint p = first; p < last; p++) {
            uint k = entries[slice * picks + p];
            float value = source[(outer * (picks / spread) + k / spread) * inner + column];
            sum += weighted != 0 ? weights[outer * picks + k] * value : value;
        }
        y[i] = sum;
    }
}
