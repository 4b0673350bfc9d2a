//! Reads what Python's pickle wrote as data: nothing is called and nothing is imported.
//!
//! Invariant: every object lies in one list and refers to others by their place in it, so that memory is a small
//! multiple of the bytes read, however often objects are shared, and nothing here calls itself.

use std::collections::HashMap;

/// The place of an object in [`Pickle`].
pub(super) type Place = usize;

/// A pickled object. Texts and numbers too long for 64 bits lie in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object<'a> {
    /// None, a float, or anything else that no tensor is described by.
    Other,
    /// True or False.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer of more than 64 bits, as its bytes.
    Long(&'a [u8]),
    /// A text.
    Text(&'a str),
    /// The name of a function or class: module and name.
    Global(&'a str, &'a str),
    /// A tuple or a list.
    Sequence(Vec<Place>),
    /// A dictionary, in the order of its entries.
    Dict(Vec<(Place, Place)>),
    /// What a function would make of its arguments.
    Call(Place, Place),
    /// What the file's format keeps elsewhere, by this identification.
    Stored(Place),
}

/// The objects of one pickle.
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Place,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle from the beginning of `bytes`, which then begin after it.
    pub(super) fn read(bytes: &mut &'a [u8]) -> Result<Self, String> {
        let mut machine =
            Machine { rest: bytes, objects: Vec::new(), stack: Vec::new(), memo: HashMap::new() };
        while machine.step()? {}
        let root = machine.pop()?;
        *bytes = machine.rest;
        Ok(Self { objects: machine.objects, root })
    }

    /// What was pickled.
    pub(super) fn root(&self) -> Place {
        self.root
    }

    /// The object at that place.
    pub(super) fn at(&self, place: Place) -> &Object<'a> {
        self.objects.get(place).unwrap_or(&Object::Other)
    }

    /// All places, in the order in which their objects were made.
    pub(super) fn places(&self) -> std::ops::Range<Place> {
        0..self.objects.len()
    }

    /// The items of a tuple or list.
    pub(super) fn sequence(&self, place: Place) -> Option<&[Place]> {
        match self.at(place) {
            Object::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// A text.
    pub(super) fn text(&self, place: Place) -> Option<&'a str> {
        match self.at(place) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer that counts something.
    pub(super) fn count(&self, place: Place) -> Option<usize> {
        match self.at(place) {
            Object::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A tuple of a few counts, such as the dimensions of a tensor.
    pub(super) fn counts(&self, place: Place) -> Option<Vec<usize>> {
        const MOST: usize = 8;
        let items = self.sequence(place).filter(|items| items.len() <= MOST)?;
        items.iter().map(|item| self.count(*item)).collect()
    }
}

/// What the stack holds: an object, or the mark before the items of a sequence.
#[derive(Clone, Copy)]
enum StackItem {
    Mark,
    Object(Place),
}

/// The stack machine that a pickle is a program for.
struct Machine<'a> {
    rest: &'a [u8],
    objects: Vec<Object<'a>>,
    stack: Vec<StackItem>,
    memo: HashMap<u32, Place>,
}

impl<'a> Machine<'a> {
    /// One instruction; false after the last. Those are known that Python writes in protocol 2, torch's only one.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            0x80 => match self.take(1)?[0] {
                2 => (),
                other => return Err(format!("pickle protocol {other}, and torch writes 2")),
            },
            b'.' => return Ok(false),
            b'(' => self.stack.push(StackItem::Mark),
            b'N' => self.push(Object::Other),
            b'G' => {
                self.take(8)?;
                self.push(Object::Other);
            }
            0x88 | 0x89 => self.push(Object::Bool(opcode == 0x88)),
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(n.into()));
            }
            b'K' => {
                let n = self.number(1)?;
                self.push(Object::Int(n.into()));
            }
            b'M' => {
                let n = self.number(2)?;
                self.push(Object::Int(n.into()));
            }
            0x8a => self.long()?,
            b'X' => self.text()?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(module, name));
            }
            b'q' | b'r' => {
                let (key, place) = (self.key(opcode == b'q')?, self.last()?);
                self.memo.insert(key, place);
            }
            b'h' | b'j' => {
                let key = self.key(opcode == b'h')?;
                let place = *self.memo.get(&key).ok_or("a reference to no object")?;
                self.stack.push(StackItem::Object(place));
            }
            b')' | b']' => self.push(Object::Sequence(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            0x85..=0x87 => {
                let mut items = (0..opcode - 0x84).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                items.reverse();
                self.push(Object::Sequence(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Object::Sequence(items));
            }
            _ => self.combine(opcode)?,
        }
        Ok(true)
    }

    /// Instructions that put objects together.
    fn combine(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let ordered =
                    self.objects.get(function) == Some(&Object::Global("collections", "OrderedDict"));
                self.push(if ordered { Object::Dict(Vec::new()) } else { Object::Call(function, arguments) });
            }
            b'Q' => {
                let identification = self.pop()?;
                self.push(Object::Stored(identification));
            }
            // Attributes of an object; of a dictionary, such as torch's `_metadata`, they are not among its entries.
            b'b' => {
                self.pop()?;
                self.last()?;
            }
            b'a' | b'e' => {
                let items = if opcode == b'a' { vec![self.pop()?] } else { self.since_mark()? };
                let list = self.last()?;
                match self.objects.get_mut(list) {
                    Some(Object::Sequence(all)) => all.extend(items),
                    _ => return Err("items for no list".to_owned()),
                }
            }
            b's' | b'u' => {
                let items = match opcode {
                    b's' => {
                        let (value, key) = (self.pop()?, self.pop()?);
                        vec![key, value]
                    }
                    _ => self.since_mark()?,
                };
                let (pairs, []) = items.as_chunks::<2>() else {
                    return Err("a key without a value".to_owned());
                };
                let dict = self.last()?;
                match self.objects.get_mut(dict) {
                    Some(Object::Dict(all)) => all.extend(pairs.iter().map(|[key, value]| (*key, *value))),
                    _ => return Err("entries for no dictionary".to_owned()),
                }
            }
            other => return Err(format!("the pickle instruction {other:#04x}, which torch does not write")),
        }
        Ok(())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("a pickle that ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array(&mut self) -> Result<[u8; 4], String> {
        self.take(4)?.try_into().map_err(|_| "a pickle that ends too early".to_owned())
    }

    /// An unsigned number of so many bytes, of which four are the most.
    fn number(&mut self, bytes: usize) -> Result<u32, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn key(&mut self, short: bool) -> Result<u32, String> {
        self.number(if short { 1 } else { 4 })
    }

    fn long(&mut self) -> Result<(), String> {
        let length = self.number(1)? as usize;
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        self.push(match wide.get_mut(..length) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(wide))
            }
            None => Object::Long(bytes),
        });
        Ok(())
    }

    fn text(&mut self) -> Result<(), String> {
        let length = self.number(4)? as usize;
        let text = std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?;
        self.push(Object::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or("a name without an end")?;
        let line = std::str::from_utf8(self.take(end)?).map_err(|e| e.to_string())?;
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(StackItem::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Place, String> {
        let place = self.last()?;
        self.stack.pop();
        Ok(place)
    }

    fn last(&self) -> Result<Place, String> {
        match self.stack.last() {
            Some(StackItem::Object(place)) => Ok(*place),
            _ => Err("an instruction without its object".to_owned()),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Place>, String> {
        let mark = self
            .stack
            .iter()
            .rposition(|slot| matches!(slot, StackItem::Mark))
            .ok_or("items without a mark")?;
        let places = self.stack.drain(mark..).filter_map(|slot| match slot {
            StackItem::Object(place) => Some(place),
            StackItem::Mark => None,
        });
        Ok(places.collect())
    }
}
