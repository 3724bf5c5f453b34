//! Two processes, one critical section: this program starts itself a second time, and both add to one counter in a file. Each
//! reads the number, adds one and writes it back, so without protection both read the same number now and then, and one
//! addition is lost. A named semaphore with one permit lets only one of them in at a time.
//!
//! ```sh
//! cargo run --example sem_named
//! ```

use chappe::Semaphore;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const NAME: &str = "/chappe_example_section";
const ADDITIONS: u64 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().collect::<Vec<_>>().as_slice() {
        [_, file, how] => add(Path::new(file), how == "protected"),
        _ => both(),
    }
}

fn both() -> Result<(), Box<dyn Error>> {
    // If a run of this program was killed and left the semaphore behind, its permit is free all the same.
    let semaphore = Semaphore::create(NAME, 1)?;
    let path = std::env::temp_dir().join(format!("chappe_example_counter.{}", std::process::id()));

    let unprotected = count(&path, "unprotected")?;
    println!("without the semaphore: {} additions, the counter says {unprotected}", 2 * ADDITIONS);
    let protected = count(&path, "protected")?;
    println!("with the semaphore:    {} additions, the counter says {protected}", 2 * ADDITIONS);

    std::fs::remove_file(&path)?;
    // The name would stay until the next reboot; the handle would not keep it.
    Semaphore::unlink(NAME)?;
    drop(semaphore);
    if protected == 2 * ADDITIONS { Ok(()) } else { Err("additions were lost in spite of the semaphore".into()) }
}

/// This process and a second one add to the counter; what it says afterwards.
fn count(path: &Path, how: &str) -> Result<u64, Box<dyn Error>> {
    std::fs::write(path, 0u64.to_ne_bytes())?;
    let mut second = Command::new(std::env::current_exe()?).arg(path).arg(how).spawn()?;
    add(path, how == "protected")?;
    let status = second.wait()?;
    if !status.success() {
        return Err(format!("the second process failed: {status}").into());
    }
    read(&File::open(path)?)
}

fn add(path: &Path, protected: bool) -> Result<(), Box<dyn Error>> {
    let semaphore = Semaphore::open(NAME)?;
    let counter = OpenOptions::new().read(true).write(true).open(path)?;
    for _ in 0..ADDITIONS {
        let permit = if protected { Some(semaphore.acquire()?) } else { None };
        let number = read(&counter)?;
        counter.write_all_at(&(number + 1).to_ne_bytes(), 0)?;
        drop(permit); // the next one may enter
    }
    Ok(())
}

fn read(counter: &File) -> Result<u64, Box<dyn Error>> {
    let mut bytes = [0; 8];
    counter.read_exact_at(&mut bytes, 0)?;
    Ok(u64::from_ne_bytes(bytes))
}
