//! Files in memory that nobody can change any more: what is too long for a message (memfd_create(2), sealed).

use std::fs::File;
use std::io::{IoSlice, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// What a file must not allow: the one who wrote it could change it while it is read.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// Why a descriptor is no file that can be trusted to stay as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It is something else, or may still be changed.
    #[error(
        "it is no sealed file in memory: make it with memfd_create and seal it against writing, growing and shrinking"
    )]
    NotSealed,
    /// Its size is another one than the message says.
    #[error("it has {actual} bytes and should have {expected}")]
    Size {
        /// What the message says.
        expected: u64,
        /// What fstat(2) says.
        actual: u64,
    },
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(Errno),
}

/// A sealed file that holds `parts` one after another, with its position at the beginning.
///
/// # Errors
/// Those of memfd_create(2) and write(2).
pub fn sealed(parts: &[&[u8]]) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("handoff-data", flags)?);
    let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    // Without what is empty already, which would look like a write that wrote nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let written = file.write_vectored(left).map_err(|error| errno(&error))?;
        IoSlice::advance_slices(&mut left, written);
    }
    file.rewind().map_err(|error| errno(&error))?;
    rustix::fs::fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Reads a sealed file that holds parts of these lengths, one after another. Takes no further descriptor, so that it
/// also works at the limit of open files.
///
/// # Errors
/// [`MemoryError`]; nothing is allocated for a file that is not as long as it should be.
pub fn read<const N: usize>(file: impl AsFd, lengths: [usize; N]) -> Result<[Vec<u8>; N], MemoryError> {
    match rustix::fs::fcntl_get_seals(&file) {
        Ok(seals) if seals.contains(SEALS) => {}
        _ => return Err(MemoryError::NotSealed),
    }
    let actual = rustix::fs::fstat(&file).map_err(MemoryError::Read)?.st_size.unsigned_abs();
    let expected = lengths.iter().fold(0_u64, |sum, &length| sum.saturating_add(length as u64));
    if actual != expected {
        return Err(MemoryError::Size { expected, actual });
    }
    let mut offset = 0;
    let mut parts = [(); N].map(|()| Vec::new());
    for (part, length) in parts.iter_mut().zip(lengths) {
        read_part(&file, part, length, offset).map_err(MemoryError::Read)?;
        offset += length as u64;
    }
    Ok(parts)
}

/// Reads `length` bytes that begin at `offset`, into memory that is not cleared first.
fn read_part(file: impl AsFd, part: &mut Vec<u8>, length: usize, offset: u64) -> Result<(), Errno> {
    part.reserve_exact(length);
    while part.len() < length {
        let at = offset + part.len() as u64;
        if rustix::io::retry_on_intr(|| rustix::io::pread(&file, spare_capacity(&mut *part), at))? == 0 {
            return Err(Errno::IO);
        }
    }
    // There may have been more room than was asked for.
    part.truncate(length);
    Ok(())
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_and_can_no_longer_be_written() {
        let file = sealed(&[b"ab", b"", b"cd"]).unwrap();
        assert_eq!(read(&file, [3, 0, 1]).unwrap(), [&b"abc"[..], b"", b"d"]);
        assert!(File::from(file).write_all(b"x").is_err());
        assert_eq!(read(sealed(&[]).unwrap(), [0]).unwrap(), [b""]);
    }

    #[test]
    fn a_file_that_may_change_is_not_read() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("open", flags).unwrap();
        assert_eq!(read(&file, [0]).unwrap_err(), MemoryError::NotSealed);
        let ordinary = File::open("/dev/null").unwrap();
        assert_eq!(read(&ordinary, [0]).unwrap_err(), MemoryError::NotSealed);
    }

    #[test]
    fn the_size_must_be_the_one_that_was_told() {
        let file = sealed(&[b"abc"]).unwrap();
        for expected in [[2, 0], [2, 2], [usize::MAX, usize::MAX]] {
            assert!(matches!(read(&file, expected), Err(MemoryError::Size { actual: 3, .. })));
        }
    }
}
