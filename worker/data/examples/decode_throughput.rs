//! Images a second, on one thread: `decode_throughput FOLDER [REPEATS] [RESIZE CROP]`. Files are read before the clock starts, so that
//! decoding and resizing are measured and not the disk.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use firn_core::spec::{CropMode, Interpolation, Preprocessing};
use firn_data::{Preprocessor, TextLimits, decode_rgb};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, rest @ ..] = &arguments[..] else {
        return Err("usage: decode_throughput FOLDER [REPEATS] [RESIZE CROP]".into());
    };
    let number = |place: usize, default: u32| rest.get(place).map_or(Ok(default), |text| text.parse());
    let (repeats, resize, crop) = (number(0, 3)?, number(1, 256)?, number(2, 224)?);
    let mut paths = Vec::new();
    collect(Path::new(folder), &mut paths)?;
    let files = paths.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let preprocessing = Preprocessing::Image {
        resize,
        interpolation: Interpolation::Bilinear,
        crop_mode: CropMode::Center,
        crop,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let preprocessor = Preprocessor::new(&preprocessing, None, TextLimits::default())?;
    measure("decode to RGB", &files, repeats, |file| {
        black_box(decode_rgb(file)).is_ok()
    });
    measure("decode, resize and crop", &files, repeats, |file| {
        black_box(preprocessor.crop_bytes(file)).is_ok()
    });
    Ok(())
}

fn measure(what: &str, files: &[Vec<u8>], repeats: u32, run: impl Fn(&[u8]) -> bool) {
    let mut best = f64::INFINITY;
    let mut good = 0;
    for _ in 0..repeats {
        let start = Instant::now();
        good = files.iter().filter(|file| run(file)).count();
        best = best.min(start.elapsed().as_secs_f64());
    }
    let rate = files.len() as f64 / best;
    println!(
        "{what}: {good} of {} images in {best:.3} s, {rate:.0} images/s, {:.2} ms each",
        files.len(),
        1e3 / rate
    );
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let image = path.extension().is_some_and(|extension| {
            ["jpg", "jpeg", "png"]
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        });
        if path.is_dir() {
            collect(&path, paths)?;
        } else if image {
            paths.push(path);
        }
    }
    Ok(())
}
