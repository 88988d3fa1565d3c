//! The cheapest program that an exec can start: a static ELF file of some 180
//! bytes, written by hand, that prints `hello` and exits. With it the figures are
//! those of the server and of the kernel, not those of a program's start.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::Result;

pub(crate) struct Hello {
    pub(crate) path: PathBuf,
    /// What it needs after argv[0].
    pub(crate) arguments: Vec<String>,
    pub(crate) what: String,
}

/// What it prints, whichever it is.
pub(crate) const GREETING: &[u8] = b"hello\n";

const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;

/// Writes it to `dir`; `/bin/echo` where its code is not known.
pub(crate) fn write(dir: &Path) -> Result<Hello> {
    let Some((machine, code)) = code() else {
        return Ok(Hello {
            path: "/bin/echo".into(),
            arguments: vec!["hello".into()],
            what: "/bin/echo hello".into(),
        });
    };
    let image = image(machine, &code);
    let path = dir.join("hello");
    std::fs::write(&path, &image)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(Hello { path, arguments: Vec::new(), what: format!("static ELF, {} bytes", image.len()) })
}

/// The ELF machine number and write(1, greeting, 6); exit(0).
fn code() -> Option<(u16, Vec<u8>)> {
    if cfg!(target_arch = "x86_64") {
        let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, write
        code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1
        code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]
        code.extend([0xba, 6, 0, 0, 0, 0x0f, 0x05]); // mov edx, 6; syscall
        code.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]); // exit(0)
        Some((62, code))
    } else if cfg!(target_arch = "aarch64") {
        let words: [u32; 8] = [
            0xd280_0020, // mov x0, 1
            0x1000_00e1, // adr x1, +28
            0xd280_00c2, // mov x2, 6
            0xd280_0808, // mov x8, write
            0xd400_0001, // svc 0
            0xd280_0000, // mov x0, 0
            0xd280_0ba8, // mov x8, exit
            0xd400_0001, // svc 0
        ];
        Some((183, words.iter().flat_map(|word| word.to_le_bytes()).collect()))
    } else {
        None
    }
}

/// ELF header, one program header (read and execute), code, greeting.
fn image(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = (HEADERS + code.len() + GREETING.len()) as u64;
    let mut image = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    image.extend(2u16.to_le_bytes()); // executable
    image.extend(machine.to_le_bytes());
    image.extend(1u32.to_le_bytes());
    image.extend((BASE + HEADERS as u64).to_le_bytes()); // entry
    image.extend(64u64.to_le_bytes()); // program headers
    image.extend(0u64.to_le_bytes()); // no section headers
    image.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        image.extend(half.to_le_bytes());
    }
    image.extend(1u32.to_le_bytes()); // load
    image.extend(5u32.to_le_bytes()); // read, execute
    for word in [0, BASE, BASE, size, size, 0x1000] {
        image.extend(word.to_le_bytes());
    }
    image.extend(code);
    image.extend(GREETING);
    image
}
