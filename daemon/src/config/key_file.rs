//! A key from a file of its own: one that the operator protects, or that systemd hands over (`LoadCredential=`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::Secret;
use super::api_kinds::is_key;

/// Largest key file, in bytes.
const LIMIT: u64 = 4096;

/// What was read.
#[derive(Debug)]
pub struct KeyFile {
    /// Where: the path that was opened.
    pub path: PathBuf,
    /// The key.
    pub key: Secret,
    /// Whether everybody on this host can read it.
    pub is_public: bool,
}

/// Why there is no key. Nothing of the file's content is in the message.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The name is a credential's, and systemd gave none.
    #[error(
        "names the systemd credential {name}, but $CREDENTIALS_DIRECTORY is not set; the unit needs \
         LoadCredential={name}:/path/of/the/key, or this setting an absolute path",
        name = .0.display()
    )]
    NoCredentials(PathBuf),
    /// It cannot be opened or read.
    #[error("cannot be read from {path:?}: {source}; the daemon's user needs a file there that it may read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("has to be a regular file, which {0:?} is not")]
    NotRegular(PathBuf),
    /// Above 4 KiB: no key.
    #[error("has to be a file with a key and nothing else; {0:?} has more than 4096 bytes")]
    TooLong(PathBuf),
    /// Nothing to send.
    #[error("has to be a file with a key; {0:?} is empty")]
    Empty(PathBuf),
    /// What cannot be sent in a header field.
    #[error("has to be a file with one line of visible ASCII characters without spaces; {0:?} has others")]
    Characters(PathBuf),
}

/// Reads the key in the file `name`: an absolute path, or a name in the directory `credentials`.
///
/// The file is opened once, and what is looked at and read is what was opened.
///
/// # Errors
/// [`KeyFileError`]: goes on after the name of the setting.
pub fn read(name: &Path, credentials: Option<&str>) -> Result<KeyFile, KeyFileError> {
    let path = match credentials {
        _ if name.is_absolute() => name.to_owned(),
        Some(directory) => Path::new(directory).join(name),
        None => return Err(KeyFileError::NoCredentials(name.to_owned())),
    };
    let unreadable = |source| KeyFileError::Read { path: path.clone(), source };
    // O_NONBLOCK: to open a pipe that nobody writes to would wait for ever. std adds O_CLOEXEC.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path);
    let file = file.map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotRegular(path));
    }
    let text = content(&file).map_err(unreadable)?;
    if text.len() as u64 > LIMIT {
        return Err(KeyFileError::TooLong(path));
    }
    match std::str::from_utf8(&text).map(|text| text.trim_end_matches(['\r', '\n'])) {
        Ok("") => Err(KeyFileError::Empty(path)),
        Ok(key) if is_key(key) => {
            Ok(KeyFile { key: Secret::new(key.to_owned()), is_public: metadata.mode() & 0o004 != 0, path })
        }
        _ => Err(KeyFileError::Characters(path)),
    }
}

/// The content, and a byte more than the limit if there is one.
fn content(file: &File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(content: &[u8], mode: u32) -> Result<KeyFile, KeyFileError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path, None)
    }

    #[test]
    fn the_line_is_the_key() {
        for content in [&b"sk-1"[..], b"sk-1\n", b"sk-1\r\n", b"sk-1\n\n"] {
            assert_eq!(written(content, 0o600).unwrap().key.expose(), "sk-1");
        }
        assert_eq!(written(&[b'k'; 4096], 0o600).unwrap().key.expose().len(), 4096);
    }

    #[test]
    fn what_is_no_key_is_told_and_not_shown() {
        for (content, expected) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"sk-1\nsk-2\n", "has others"),
            (b" sk-1", "has others"),
            (b"sk-\0", "has others"),
            (b"sk-\xff", "has others"),
            ("sk-ü".as_bytes(), "has others"),
            (&[b'k'; 4097], "more than 4096 bytes"),
        ] {
            let error = written(content, 0o600).unwrap_err().to_string();
            assert!(error.ends_with(expected) && !error.contains("sk-"), "{error}");
        }
    }

    #[test]
    fn only_a_regular_file_is_read_and_a_pipe_does_not_keep_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [directory.path(), &pipe] {
            assert!(matches!(read(path, None), Err(KeyFileError::NotRegular(_))), "{path:?}");
        }
        assert!(matches!(read(&directory.path().join("none"), None), Err(KeyFileError::Read { .. })));
    }

    #[test]
    fn a_file_for_everybody_is_noticed() {
        assert!(written(b"k", 0o604).unwrap().is_public);
        assert!(!written(b"k", 0o640).unwrap().is_public);
    }

    #[test]
    fn a_bare_name_is_a_credential() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("openai"), "sk-1").unwrap();
        let credentials = directory.path().to_str();
        assert_eq!(read(Path::new("openai"), credentials).unwrap().key.expose(), "sk-1");
        let error = read(Path::new("openai"), None).unwrap_err().to_string();
        assert!(error.contains("LoadCredential=openai:"), "{error}");
    }
}
