//! Tensors that `torch.save` wrote: a zip archive since torch 1.6, pickles one after another before.
//!
//! Nothing in such a file is run. Every tensor's bytes are found inside the file, all of them together at most twice
//! its length (a head that is tied to the embedding shares its bytes), so that no size is believed beyond it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

use safetensors::Dtype;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Object, Pickle, Place};

type Result<T> = std::result::Result<T, String>;

/// A tensor as a file has it, row by row.
#[derive(Debug)]
pub(super) struct StoredTensor<'a> {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

/// Storages by the name under which the pickle refers to them.
type Storages<'a> = HashMap<String, &'a [u8]>;

/// The number that a file before torch 1.6 begins with, as pickle writes it.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether a file begins as `torch.save` begins one.
pub(super) fn is_torch_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 2])
}

/// The named tensors of a file: a dictionary of nothing else.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, StoredTensor<'_>>> {
    let (pickle, storages) = if bytes.starts_with(b"PK") { archive(bytes)? } else { sequence(bytes)? };
    let Object::Dict(entries) = pickle.at(pickle.root()) else {
        return Err("something else than a dictionary of tensors".to_owned());
    };
    let (mut all, mut total) = (BTreeMap::new(), 0usize);
    for (key, value) in entries {
        let name = pickle.text(*key).ok_or("an entry whose name is no text")?;
        let described = |e: String| format!("entry {name:?}: {e}");
        let parts = describe(&pickle, *value).map_err(described)?;
        let storage =
            *storages.get(parts.storage).ok_or_else(|| described("its values are missing".to_owned()))?;
        total = total.saturating_add(parts.length().ok_or_else(|| described(parts.outside(storage)))?);
        if total > bytes.len().saturating_mul(2) {
            return Err(described("values that are used more than twice".to_owned()));
        }
        if all.insert(name.to_owned(), parts.place(storage).map_err(described)?).is_some() {
            return Err(described("twice".to_owned()));
        }
    }
    Ok(all)
}

/// A zip archive with one pickle and a file for every storage, none of them compressed.
fn archive(bytes: &[u8]) -> Result<(Pickle<'_>, Storages<'_>)> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut files = HashMap::new();
    for i in 0..zip.len() {
        let file = zip.by_index_raw(i).map_err(|e| e.to_string())?;
        let name = file.name().map_err(|e| e.to_string())?.into_owned();
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Err(format!("compressed or encrypted {name:?}, and torch writes neither"));
        }
        let range = file
            .data_start()
            .and_then(|start| Some(start as usize..start.checked_add(file.size())? as usize));
        let inside =
            range.and_then(|range| bytes.get(range)).ok_or_else(|| format!("{name:?} beyond its end"))?;
        files.insert(name, inside);
    }
    let mut folders = files.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(folder), None) = (folders.next(), folders.next()) else {
        return Err("a zip archive without exactly one data.pkl".to_owned());
    };
    if files.get(&format!("{folder}byteorder")).is_some_and(|order| *order != b"little") {
        return Err("numbers whose bytes are not in little-endian order".to_owned());
    }
    let pickle = Pickle::read(&mut { files[&format!("{folder}data.pkl")] })?;
    let data = format!("{folder}data/");
    let storages =
        files.iter().filter_map(|(name, inside)| Some((name.strip_prefix(&data)?.to_owned(), *inside)));
    Ok((pickle, storages.collect()))
}

/// The older form: a magic number, a protocol, the writer's system, the objects, the storages' names and the storages.
fn sequence(bytes: &[u8]) -> Result<(Pickle<'_>, Storages<'_>)> {
    let mut rest = bytes;
    let magic = Pickle::read(&mut rest)?;
    if magic.at(magic.root()) != &Object::Long(MAGIC) {
        return Err("a pickle that torch.save did not write".to_owned());
    }
    let protocol = Pickle::read(&mut rest)?;
    if protocol.count(protocol.root()) != Some(1001) {
        return Err("an unknown protocol of torch.save".to_owned());
    }
    let system = Pickle::read(&mut rest)?;
    let Object::Dict(facts) = system.at(system.root()) else {
        return Err("no description of the system that wrote it".to_owned());
    };
    let little = |(key, value): &(Place, Place)| {
        system.text(*key) == Some("little_endian") && system.at(*value) == &Object::Bool(true)
    };
    if !facts.iter().any(little) {
        return Err("numbers whose bytes are not in little-endian order".to_owned());
    }
    let pickle = Pickle::read(&mut rest)?;
    let names = Pickle::read(&mut rest)?;
    let sizes = element_sizes(&pickle);
    let mut storages = HashMap::new();
    for name in names.sequence(names.root()).ok_or("no list of storages")? {
        let name = names.text(*name).ok_or("a storage whose name is no text")?;
        let size = sizes.get(name).ok_or_else(|| format!("a storage {name:?} that no tensor uses"))?;
        let (count, values) = rest.split_first_chunk::<8>().ok_or("a file that ends too early")?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|n| n.checked_mul(*size));
        let (inside, after) =
            length.and_then(|n| values.split_at_checked(n)).ok_or("a file that ends too early")?;
        storages.insert(name.to_owned(), inside);
        rest = after;
    }
    Ok((pickle, storages))
}

/// How many bytes an element of each storage has.
fn element_sizes<'a>(pickle: &Pickle<'a>) -> HashMap<&'a str, usize> {
    let storage = |place| {
        let Object::Stored(identification) = pickle.at(place) else { return None };
        let [_, class, name, ..] = pickle.sequence(*identification)? else { return None };
        let Object::Global(_, class) = pickle.at(*class) else { return None };
        let size = element_type(class).map_or(8, |dtype| dtype.bitsize()) / 8;
        Some((pickle.text(*name)?, size))
    };
    pickle.places().filter_map(storage).collect()
}

/// Where a tensor's elements lie in its storage, counted in elements.
struct Described<'p> {
    dtype: Dtype,
    storage: &'p str,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// What the pickle says of a tensor.
fn describe<'a>(pickle: &Pickle<'a>, place: Place) -> Result<Described<'a>> {
    let call = |place| match pickle.at(place) {
        Object::Call(function, arguments) => Some((pickle.at(*function), pickle.sequence(*arguments)?)),
        _ => None,
    };
    let called = match call(place) {
        Some((Object::Global("torch._utils", "_rebuild_parameter"), [tensor, ..])) => call(*tensor),
        other => other,
    };
    match called.ok_or("no tensor")? {
        (Object::Global("torch._utils", "_rebuild_tensor_v2"), [storage, offset, shape, strides, ..]) => {
            let (dtype, storage) = storage_of(pickle, *storage)?;
            let parts = (pickle.count(*offset), pickle.counts(*shape), pickle.counts(*strides));
            match parts {
                (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
                    Ok(Described { dtype, storage, offset, shape, strides })
                }
                _ => Err("dimensions that are no numbers".to_owned()),
            }
        }
        (Object::Global("torch._utils", "_rebuild_tensor_v3"), [_, _, _, _, _, _, dtype, ..]) => {
            let Object::Global(_, dtype) = pickle.at(*dtype) else { return Err("no type".to_owned()) };
            Err(format!("has type {dtype}, expected F32, F16, BF16 or F64"))
        }
        (Object::Global(module, name), _) => Err(format!("made by {module}.{name}, which is not run here")),
        _ => Err("no tensor".to_owned()),
    }
}

fn storage_of<'a>(pickle: &Pickle<'a>, place: Place) -> Result<(Dtype, &'a str)> {
    let Object::Stored(identification) = pickle.at(place) else { return Err("no storage".to_owned()) };
    let Some([_, class, name, ..]) = pickle.sequence(*identification) else {
        return Err("no storage".to_owned());
    };
    let (Object::Global("torch", class), Some(name)) = (pickle.at(*class), pickle.text(*name)) else {
        return Err("a storage of unknown type".to_owned());
    };
    let dtype = element_type(class);
    Ok((dtype.ok_or_else(|| format!("has type {class}, expected F32, F16, BF16 or F64"))?, name))
}

fn element_type(class: &str) -> Option<Dtype> {
    Some(match class {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

impl Described<'_> {
    /// Bytes of an element.
    fn width(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// Bytes of the tensor.
    fn length(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.width(), |n, extent| n.checked_mul(*extent))
    }

    /// The element after the last one that is used.
    fn end(&self) -> Option<usize> {
        let steps = self.shape.iter().zip(&self.strides);
        let last = |at: usize, (extent, stride): (&usize, &usize)| {
            at.checked_add((extent - 1).checked_mul(*stride)?)
        };
        steps.into_iter().try_fold(self.offset, last)?.checked_add(1)
    }

    fn outside(&self, storage: &[u8]) -> String {
        let (shape, strides) = (&self.shape, &self.strides);
        format!("shape {shape:?} in steps of {strides:?}, in a storage of {} bytes", storage.len())
    }

    /// Its elements in their storage: where they lie if they lie row by row, or else put in order.
    fn place<'a>(self, storage: &'a [u8]) -> Result<StoredTensor<'a>> {
        let (width, length) = (self.width(), self.length().unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(StoredTensor { dtype: self.dtype, shape: self.shape, bytes: Cow::Borrowed(&[]) });
        }
        let fits = self.end().and_then(|end| end.checked_mul(width)).is_some_and(|end| end <= storage.len());
        if !fits || length > storage.len() {
            return Err(self.outside(storage));
        }
        let mut row_by_row = 1;
        let in_order = self.shape.iter().zip(&self.strides).rev().all(|(extent, stride)| {
            let fits = *extent == 1 || *stride == row_by_row;
            row_by_row *= extent;
            fits
        });
        let bytes = match in_order {
            true => Cow::Borrowed(&storage[self.offset * width..][..length]),
            false => Cow::Owned(self.gathered(storage, length)),
        };
        Ok(StoredTensor { dtype: self.dtype, shape: self.shape, bytes })
    }

    fn gathered(&self, storage: &[u8], length: usize) -> Vec<u8> {
        let width = self.width();
        let mut out = Vec::with_capacity(length);
        for element in 0..length / width {
            let (mut left, mut at) = (element, self.offset);
            for (extent, stride) in self.shape.iter().zip(&self.strides).rev() {
                at += left % extent * stride;
                left /= extent;
            }
            out.extend_from_slice(&storage[at * width..][..width]);
        }
        out
    }
}
