//! What a window of 2 x 2 x 2 voxels contributes to the functionals of a cube: integers by geometry, then weights.
//!
//! Corner i of a window lies at x = i & 1, y = i >> 1 & 1, z = i >> 2, and bit i of the window's code says whether it is
//! in the set. Voxels stand for the points of a lattice.

use std::f64::consts::PI;

/// How many sums there are.
pub(super) const SUMS: usize = 8;

/// The contributions of every code: [corner 0 in the set; changes between set and complement along edges, face
/// diagonals and space diagonals; convex less concave corners of the sections by planes across edges, across face
/// diagonals and across space diagonals; 24 times the Euler characteristic].
///
/// Parallel pairs and planes of a window are taken by its neighbours too: edges count at corner 0 alone, face diagonals
/// and faces in the three faces that meet there.
pub(super) fn contributions() -> [[i64; SUMS]; 256] {
    std::array::from_fn(contribution)
}

fn contribution(code: usize) -> [i64; SUMS] {
    let inside = |corner: usize| code >> corner & 1 == 1;
    let among = |choose: &dyn Fn(usize) -> bool| (0..8).filter(|&i| choose(i) && inside(i)).count();

    // Pairs of corners differ in one, two or three coordinates.
    let (mut changes, mut edges) = ([0; 3], 0);
    for i in 0..8usize {
        for j in i + 1..8 {
            let kind = (i ^ j).count_ones() as usize;
            let once = if kind == 1 { i == 0 } else { kind == 3 || i | j != 7 };
            changes[kind - 1] += i64::from(once && inside(i) != inside(j));
            edges += i64::from(kind == 1 && inside(i) && inside(j));
        }
    }

    // In a section by a rectangle of lattice points one point of four is a convex corner, three of four a concave one.
    let corners = |points: usize| i64::from(points == 1) - i64::from(points == 3);
    let (mut bends, mut faces) = ([0; 3], 0);
    for axis in 0..3 {
        let near = among(&|i| i >> axis & 1 == 0);
        let far = among(&|i| i >> axis & 1 == 1);
        bends[0] += corners(near);
        faces += i64::from(near == 4) + i64::from(far == 4);
        let other = (axis + 1) % 3;
        let same = |i: usize| (i >> axis & 1) == (i >> other & 1);
        bends[1] += corners(among(&same)) + corners(among(&|i| !same(i)));
    }
    // Sections across a space diagonal are triangles: the neighbours of a corner. Triangles of one orientation show the
    // convex corners, those of the other the concave ones.
    for corner in 0..8 {
        let points = among(&|i| (i ^ corner).count_ones() == 1);
        bends[2] += if corner < 4 { -i64::from(points == 2) } else { i64::from(points == 1) };
    }

    // Points, edges, faces and the cell belong to 8, 4, 2 and 1 windows.
    let points = code.count_ones() as i64;
    let euler = match (points, edges, faces) {
        // QuantImPy's own values for a ring of six voxels and for five voxels of it; the sum below is -18 and -9.
        (6, 6, 0) => -12,
        (5, 4, 0) => -8,
        _ => 3 * points - 6 * edges + 12 * faces - 24 * i64::from(code == 255),
    };
    [(code & 1) as i64, changes[0], changes[1], changes[2], bends[0], bends[1], bends[2], euler]
}

/// M0 = V, M1 = S / 8, M2 = H / (2 pi^2), M3 = 3 chi / (4 pi) from the sums of contributions over all windows.
pub(super) fn functionals(sums: &[i64; SUMS]) -> [f64; 4] {
    let [edge, face, space] = direction_weights();
    let (root_2, root_3) = (2f64.sqrt(), 3f64.sqrt());
    let s: [f64; SUMS] = sums.map(|v| v as f64);
    // Crofton: the surface density is twice the changes on a line per unit length, here in 3 + 6 + 4 directions of
    // spacing 1, sqrt 2, sqrt 3.
    let length = 3.0 * edge + 6.0 * root_2 * face + 4.0 * root_3 * space;
    let changes = edge * s[1] + face * s[2] + space * s[3];
    // The mean curvature is 2 pi times the mean Euler characteristic of plane sections; their lattices have cells of
    // area 1, sqrt 2, sqrt 3 and four, four, three corners to a cell.
    let bends = edge * s[4] / 4.0 + face * s[5] / (4.0 * root_2) + space * s[6] / (3.0 * root_3);
    [s[0], 0.25 * changes / length, 2.0 / PI * bends, s[7] / (32.0 * PI)]
}

/// The fractions of the sphere nearest to one of the 6 edge, 12 face-diagonal and 8 space-diagonal directions of a cubic
/// lattice: 0.045778, 0.036981, 0.035196 (Ohser & Muecklich 2000, table 5.1).
fn direction_weights() -> [f64; 3] {
    let (root_2, root_3) = (2f64.sqrt(), 3f64.sqrt());
    // The sphere is 48 triangles like this one; the cells meet in `centre`, and half-way along its sides.
    let (edge, face, space) = ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]);
    let centre = [root_3 - root_2, root_2 - 1.0, 1.0];
    let edge_face = [0.0, root_2 - 1.0, 1.0];
    let edge_space = [0.5 * (root_3 - 1.0), 0.5 * (root_3 - 1.0), 1.0];
    let face_space = [root_2 * root_3 - 2.0, 1.0, 1.0];
    let sphere = 4.0 * PI;
    let cell = |direction, a, b| solid_angle(direction, a, centre) + solid_angle(direction, b, centre);
    [
        8.0 * cell(edge, edge_face, edge_space) / sphere,
        4.0 * cell(face, edge_face, face_space) / sphere,
        6.0 * cell(space, edge_space, face_space) / sphere,
    ]
}

/// The solid angle of the triangle of three directions (Van Oosterom & Strackee 1983).
fn solid_angle(a: [f64; 3], b: [f64; 3], c: [f64; 3]) -> f64 {
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let [a, b, c] = [a, b, c].map(|v| v.map(|x| x / dot(v, v).sqrt()));
    let cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
    2.0 * dot(a, cross).abs().atan2(1.0 + dot(a, b) + dot(b, c) + dot(c, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_of_all_directions_make_the_sphere() {
        let [edge, face, space] = direction_weights();
        assert!((6.0 * edge + 12.0 * face + 8.0 * space - 1.0).abs() < 1e-14);
        assert!((edge - 0.045778).abs() < 1e-6 && (face - 0.036981).abs() < 1e-6);
    }

    #[test]
    fn four_rings_and_their_24_parts_have_values_of_their_own() {
        let table = contributions();
        let codes = |euler: i64| (0..256).filter(|&code| table[code][7] == euler).collect::<Vec<usize>>();
        assert_eq!(codes(-12), [126, 189, 219, 231]); // all but two opposite corners
        assert_eq!(codes(-8).len(), 24);
    }

    #[test]
    fn complements_have_the_same_surface_and_the_opposite_curvature() {
        let table = contributions();
        assert_eq!(table[0], [0; SUMS]);
        assert_eq!(table[255], [1, 0, 0, 0, 0, 0, 0, 0]);
        for code in 0..256 {
            let (set, rest) = (table[code], table[255 - code]);
            assert_eq!(set[1..4], rest[1..4]);
            assert!(set[4] == -rest[4] && set[5] == -rest[5]);
        }
        // One voxel alone fills all corners in turn: 6 + 12 + 8 changes at its ends, sections and one component.
        let dot =
            (0..8).map(|i| table[1 << i]).fold([0; SUMS], |sum, t| std::array::from_fn(|j| sum[j] + t[j]));
        assert_eq!(dot, [1, 6, 12, 8, 12, 24, 12, 24]);
    }
}
