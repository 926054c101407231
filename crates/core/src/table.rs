//! Rows with named columns that carry their units.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::{Error, Header, Result, Unit};

/// The values of a field in the type they were stored with; the first axis is the row: the particle, the group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FieldValues {
    /// 32-bit floating point.
    F32(ArrayD<f32>),
    /// 64-bit floating point.
    F64(ArrayD<f64>),
    /// Signed integers of up to 64 bits.
    I64(ArrayD<i64>),
    /// Unsigned integers of up to 64 bits.
    U64(ArrayD<u64>),
}

impl FieldValues {
    /// The shape, the row first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(v) => v.shape(),
            Self::F64(v) => v.shape(),
            Self::I64(v) => v.shape(),
            Self::U64(v) => v.shape(),
        }
    }

    /// The values as f64. Integers above 2^53 lose digits: identifiers are not meant to be read this way.
    pub fn to_f64(&self) -> ArrayD<f64> {
        match self {
            Self::F32(v) => v.mapv(f64::from),
            Self::F64(v) => v.clone(),
            Self::I64(v) => v.mapv(|x| x as f64),
            Self::U64(v) => v.mapv(|x| x as f64),
        }
    }
}

/// A named quantity of every row of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The values, `[row, ...]`.
    pub values: FieldValues,
    /// Their unit.
    pub unit: Unit,
}

/// Rows with named fields: particles, groups, subhalos.
///
/// ```
/// use halocast_core::{FieldValues, Table, Unit};
/// use ndarray::Array1;
///
/// let mut groups = Table::new("Group", 2);
/// groups.insert("GroupMass", FieldValues::F32(Array1::from(vec![3.0, 1.0]).into_dyn()), Unit::msun_h_1e10())?;
/// assert_eq!(groups.scalars("GroupMass")?, [3.0, 1.0]);
/// assert!(groups.scalars("GroupLen").unwrap_err().to_string().contains("GroupMass"));
/// # Ok::<(), halocast_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    name: String,
    len: usize,
    fields: BTreeMap<String, Field>,
}

impl Table {
    /// A table of `len` rows without fields. Errors call it by `name`.
    pub fn new(name: impl Into<String>, len: usize) -> Self {
        Self { name: name.into(), len, fields: BTreeMap::new() }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds or replaces a field.
    ///
    /// # Errors
    /// [`Error::Shape`] when the first axis is not the number of rows.
    pub fn insert(&mut self, name: impl Into<String>, values: FieldValues, unit: Unit) -> Result<()> {
        let name = name.into();
        if values.shape().first() != Some(&self.len) {
            return Err(self.misshapen(&name, format!("[{}, ...]", self.len), &values));
        }
        self.fields.insert(name, Field { values, unit });
        Ok(())
    }

    /// The fields by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().map(|(name, field)| (name.as_str(), field))
    }

    /// A field.
    ///
    /// # Errors
    /// [`Error::AbsentField`] listing the fields there are.
    pub fn field(&self, name: &str) -> Result<&Field> {
        self.fields.get(name).ok_or_else(|| Error::AbsentField {
            species: self.name.clone(),
            field: name.to_owned(),
            available: self.fields.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// A vector field as rows of three, in the unit it is stored with.
    ///
    /// # Errors
    /// [`Error::AbsentField`]; [`Error::Shape`] when the field is not `[row, 3]`.
    pub fn vectors(&self, name: &str) -> Result<Vec<[f64; 3]>> {
        let field = self.field(name)?;
        if field.values.shape() != [self.len, 3] {
            return Err(self.misshapen(name, format!("[{}, 3]", self.len), &field.values));
        }
        Ok(field.values.to_f64().outer_iter().map(|row| [row[0], row[1], row[2]]).collect())
    }

    /// A scalar field, in the unit it is stored with.
    ///
    /// # Errors
    /// [`Error::AbsentField`]; [`Error::Shape`] when the field is not `[row]`.
    pub fn scalars(&self, name: &str) -> Result<Vec<f64>> {
        let field = self.field(name)?;
        if field.values.shape() != [self.len] {
            return Err(self.misshapen(name, format!("[{}]", self.len), &field.values));
        }
        Ok(field.values.to_f64().into_iter().collect())
    }

    fn misshapen(&self, field: &str, expected: String, values: &FieldValues) -> Error {
        Error::Shape {
            operation: "table",
            what: format!("field {field:?} of {}", self.name),
            expected,
            got: values.shape().to_vec(),
        }
    }
}

/// The groups (haloes by friends of friends) and subhalos (galaxies) of one snapshot.
///
/// Fields go by the names of IllustrisTNG's group catalogues: `GroupLenType`, `GroupPos`, `Group_M_Crit200`,
/// `GroupFirstSub`; `SubhaloGrNr`, `SubhaloPos`, `SubhaloHalfmassRadType`, ... The particles of a group lie together in the
/// snapshot, groups in the order of the table, the subhalos of a group first and in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCatalogue {
    /// The header of the snapshot. `promised` counts nothing here.
    pub header: Header,
    /// One row a group.
    pub groups: Table,
    /// One row a subhalo.
    pub subhalos: Table,
    /// What was missing when it was read, one line each; empty for a whole catalogue.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;

    #[test]
    fn a_field_of_another_length_is_refused() {
        let mut table = Table::new("Group", 3);
        let bad = FieldValues::F32(Array1::zeros(4).into_dyn());
        let message = table.insert("GroupMass", bad, Unit::msun_h_1e10()).unwrap_err().to_string();
        let expected = ["GroupMass", "Group", "[3, ...]", "[4]"];
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn a_scalar_is_no_vector() {
        let mut table = Table::new("Group", 2);
        table.insert("GroupPos", FieldValues::F64(Array2::zeros((2, 3)).into_dyn()), Unit::kpc_h()).unwrap();
        assert!(table.scalars("GroupPos").unwrap_err().to_string().contains("[2, 3]"));
        assert_eq!(table.vectors("GroupPos").unwrap(), vec![[0.0; 3]; 2]);
    }
}
