//! Scenes: a few images of single things, scaled, placed on one canvas, and partly hiding each other.

use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus as Random};

use super::idx::{CLASSES, SIDE as IMAGE_SIDE};
use crate::metric::detections::iou;

/// Rows and columns of a scene.
pub const SIDE: usize = 64;
/// The most objects of a scene.
pub const MAX_OBJECTS: usize = 4;

/// The fewest and the most rows and columns that an image is scaled to.
const SIZES: (usize, usize) = (20, 36);
/// Bytes below are background. Takes the faint fringes off MNIST's strokes and Fashion-MNIST's clothes, but
/// makes holes of less than 1 % of the pixels inside them.
const THRESHOLD: u8 = 16;
/// The largest overlap of two boxes.
const MAX_IOU: f64 = 0.3;
/// How often an image, or a position, is drawn again before the object is left out.
const TRIES: usize = 20;

/// Where objects come from.
pub trait Images {
    /// How many images there are.
    fn count(&self) -> usize;

    /// The 28×28 bytes, row by row, of the image at `index`, which is below the count, and its class.
    fn image(&self, index: usize) -> (&[u8; IMAGE_SIDE * IMAGE_SIDE], u8);
}

/// What there is to find in a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Below [`CLASSES`].
    pub class: usize,
    /// Top, left, bottom and right of the visible pixels, in pixels of the scene. The last two are exclusive.
    pub bounds: [f32; 4],
}

/// Pixels, and what they show.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// `SIDE × SIDE` bytes, row by row; 0 outside objects.
    pub pixels: Vec<u8>,
    /// For each pixel 0, or 1 + the class of its object.
    pub mask: Vec<u8>,
    /// From the rearmost to the foremost: one to [`MAX_OBJECTS`], or none if all images are blank.
    pub objects: Vec<Object>,
}

/// The scene `index` of those that `seed` gives. It depends on no other scene.
///
/// At least three quarters of every object are visible, and the boxes of any two overlap by an intersection
/// over union of at most 0.3.
pub fn compose<I: Images + ?Sized>(seed: u64, index: u64, images: &I) -> Scene {
    // Mixed, or else scene 1 of seed 0 were scene 0 of seed 1.
    let key = SplitMix64::seed_from_u64(seed).next_u64().wrapping_add(index);
    let mut random = Random::seed_from_u64(key);

    let mut canvas = Canvas::empty();
    for _ in 0..within(&mut random, 1, MAX_OBJECTS) {
        let sprite = (0..TRIES).find_map(|_| Sprite::draw(&mut random, images));
        let placed = sprite.and_then(|sprite| {
            (0..TRIES).find_map(|_| {
                let last = SIDE - sprite.size;
                let (top, left) = (within(&mut random, 0, last), within(&mut random, 0, last));
                canvas.with(&sprite, top, left)
            })
        });
        canvas = placed.unwrap_or(canvas);
    }
    canvas.into_scene()
}

/// A number of `first..=last`.
fn within(random: &mut Random, first: usize, last: usize) -> usize {
    first + (random.next_u64() % (last - first + 1) as u64) as usize
}

/// A scaled image, `size × size` bytes, 0 where it is background.
struct Sprite {
    class: u8,
    size: usize,
    bytes: Vec<u8>,
}

impl Sprite {
    /// A random image at a random size.
    fn draw<I: Images + ?Sized>(random: &mut Random, images: &I) -> Option<Self> {
        let last = images.count().checked_sub(1)?;
        let (image, class) = images.image(within(random, 0, last));
        Self::scaled(image, class, within(random, SIZES.0, SIZES.1))
    }

    /// None if the image is blank or of no class.
    fn scaled(image: &[u8; IMAGE_SIDE * IMAGE_SIDE], class: u8, size: usize) -> Option<Self> {
        // The pixel of the image in which the centre of the sprite's pixel lies.
        let source = |at: usize| (2 * at + 1) * IMAGE_SIDE / (2 * size);
        let bytes: Vec<_> = (0..size * size)
            .map(|at| image[source(at / size) * IMAGE_SIDE + source(at % size)])
            .map(|byte| if byte < THRESHOLD { 0 } else { byte })
            .collect();
        let valid = usize::from(class) < CLASSES && bytes.iter().any(|&byte| byte > 0);
        valid.then_some(Self { class, size, bytes })
    }
}

/// A scene to which objects are added.
#[derive(Clone)]
struct Canvas {
    pixels: Vec<u8>,
    /// For each pixel the position of its object in `objects`.
    owners: Vec<Option<usize>>,
    objects: Vec<Placed>,
}

#[derive(Clone)]
struct Placed {
    class: u8,
    /// Pixels, hidden ones too.
    area: usize,
    visible: usize,
    /// Of the visible pixels, as in [`Object`].
    bounds: [f32; 4],
}

impl Canvas {
    fn empty() -> Self {
        Self { pixels: vec![0; SIDE * SIDE], owners: vec![None; SIDE * SIDE], objects: vec![] }
    }

    /// The canvas with `sprite` in front of all else, if that hides and overlaps little.
    fn with(&self, sprite: &Sprite, top: usize, left: usize) -> Option<Self> {
        let mut canvas = self.clone();
        canvas.paint(sprite, top, left);
        canvas.measure();
        canvas.is_clear().then_some(canvas)
    }

    fn paint(&mut self, sprite: &Sprite, top: usize, left: usize) {
        let owner = self.objects.len();
        let mut area = 0;
        for (at, &byte) in sprite.bytes.iter().enumerate().filter(|&(_, &byte)| byte > 0) {
            let pixel = (top + at / sprite.size) * SIDE + left + at % sprite.size;
            self.pixels[pixel] = byte;
            self.owners[pixel] = Some(owner);
            area += 1;
        }
        self.objects.push(Placed { class: sprite.class, area, visible: 0, bounds: [0.0; 4] });
    }

    /// Counts and bounds the visible pixels of every object.
    fn measure(&mut self) {
        let (start, end) = (f32::INFINITY, f32::NEG_INFINITY);
        for object in &mut self.objects {
            (object.visible, object.bounds) = (0, [start, start, end, end]);
        }
        for (at, owner) in self.owners.iter().enumerate() {
            let Some(owner) = *owner else { continue };
            let (row, column) = ((at / SIDE) as f32, (at % SIDE) as f32);
            let object = &mut self.objects[owner];
            let [top, left, bottom, right] = object.bounds;
            object.visible += 1;
            object.bounds =
                [top.min(row), left.min(column), bottom.max(row + 1.0), right.max(column + 1.0)];
        }
    }

    fn is_clear(&self) -> bool {
        self.objects.iter().enumerate().all(|(i, object)| {
            let apart = |other: &Placed| iou(object.bounds, other.bounds) <= MAX_IOU;
            4 * object.visible >= 3 * object.area && self.objects[..i].iter().all(apart)
        })
    }

    fn into_scene(self) -> Scene {
        let class = |owner: Option<usize>| owner.map_or(0, |owner| 1 + self.objects[owner].class);
        let mask = self.owners.iter().copied().map(class).collect();
        let objects = self.objects.iter();
        let objects = objects.map(|o| Object { class: o.class.into(), bounds: o.bounds }).collect();
        Scene { pixels: self.pixels, mask, objects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each image of a class of its own: a bar of the bytes 100 + class, with a faint gap.
    struct Bars(Vec<[u8; 784]>);

    impl Bars {
        fn new(classes: usize) -> Self {
            let byte = |class: usize, row: usize, column: usize| match row {
                14 => THRESHOLD - 1,
                4..=24 if (6..10 + class).contains(&column) => 100 + class as u8,
                _ => 0,
            };
            let bar = |class| std::array::from_fn(|at| byte(class, at / 28, at % 28));
            Self((0..classes).map(bar).collect())
        }
    }

    impl Images for Bars {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn image(&self, index: usize) -> (&[u8; 784], u8) {
            (&self.0[index], index as u8)
        }
    }

    fn scenes() -> Vec<Scene> {
        (0..300).map(|index| compose(7, index, &Bars::new(CLASSES))).collect()
    }

    #[test]
    fn a_scene_depends_on_seed_and_index_alone() {
        let (bars, scenes) = (Bars::new(CLASSES), scenes());
        for (index, scene) in scenes.iter().enumerate().rev().step_by(7) {
            assert_eq!(*scene, compose(7, index as u64, &bars));
            assert_ne!(*scene, compose(8, index as u64, &bars));
            assert!(!scenes[..index].contains(scene));
        }
        assert_ne!(compose(0, 1, &bars), compose(1, 0, &bars));
    }

    #[test]
    fn scenes_have_one_to_four_objects() {
        let mut scenes_of = [0; MAX_OBJECTS + 1];
        scenes().iter().for_each(|scene| scenes_of[scene.objects.len()] += 1);
        assert_eq!(scenes_of[0], 0);
        assert!(scenes_of[1..].iter().all(|&scenes| scenes > 30), "{scenes_of:?}");
        // For some of these there is no place; the others stay.
        let squares = Bars(vec![[255; 784]]);
        assert!((0..300).all(|index| !compose(7, index, &squares).objects.is_empty()));
    }

    #[test]
    fn what_is_no_object_is_left_out() {
        assert_eq!(compose(7, 0, &Bars(vec![])).objects, []);
        assert_eq!(compose(7, 0, &Bars(vec![[THRESHOLD - 1; 784]])).mask, [0; SIDE * SIDE]);
        let more = Bars::new(CLASSES + 5);
        let mut objects = (0..50).flat_map(|index| compose(7, index, &more).objects);
        assert!(objects.all(|object| object.class < CLASSES));
    }

    #[test]
    fn boxes_are_those_of_the_visible_pixels() {
        for scene in scenes() {
            for object in &scene.objects {
                // The mask can't tell objects of one class apart.
                if scene.objects.iter().filter(|other| other.class == object.class).count() > 1 {
                    continue;
                }
                let shown = |at: &usize| usize::from(scene.mask[*at]) == 1 + object.class;
                let of = |edge: fn(usize) -> usize| (0..SIDE * SIDE).filter(shown).map(edge);
                let (rows, columns) = (|| of(|at| at / SIDE), || of(|at| at % SIDE));
                let naive = [rows().min(), columns().min(), rows().max(), columns().max()];
                let [top, left, bottom, right] = naive.map(|edge| edge.unwrap() as f32);
                assert_eq!(object.bounds, [top, left, bottom + 1.0, right + 1.0]);
            }
        }
    }

    #[test]
    fn pixels_are_those_of_the_objects() {
        for scene in scenes() {
            for (&pixel, &mask) in scene.pixels.iter().zip(&scene.mask) {
                assert_eq!(pixel, if mask == 0 { 0 } else { 99 + mask });
                assert!(
                    mask == 0 || scene.objects.iter().any(|o| 1 + o.class == usize::from(mask))
                );
            }
        }
    }

    #[test]
    fn images_are_sampled_at_the_centres_of_pixels() {
        let image = std::array::from_fn(|at| THRESHOLD + (at % 200) as u8);
        assert_eq!(Sprite::scaled(&image, 0, 28).unwrap().bytes, image);
        let half: Vec<_> =
            (0..14 * 14).map(|at| image[(at / 14 * 2 + 1) * 28 + at % 14 * 2 + 1]).collect();
        assert_eq!(Sprite::scaled(&image, 0, 14).unwrap().bytes, half);
    }

    fn solid(size: usize) -> Sprite {
        Sprite { class: 0, size, bytes: vec![255; size * size] }
    }

    #[test]
    fn a_quarter_of_an_object_is_hidden_at_most() {
        let one = Canvas::empty().with(&solid(20), 0, 0).unwrap();
        assert!(one.with(&solid(20), 9, 10).is_none());
        let two = one.with(&solid(20), 10, 10).unwrap();
        assert_eq!([two.objects[0].visible, two.objects[1].visible], [300, 400]);
        // Another quarter, with which the second object's is too much.
        assert!(one.with(&solid(10), 0, 0).is_some());
        assert!(two.with(&solid(10), 0, 0).is_none());
    }

    #[test]
    fn boxes_overlap_little() {
        let mut corners = solid(20);
        corners.bytes[1..399].fill(0);
        let one = Canvas::empty().with(&solid(20), 0, 0).unwrap();
        // By 200 of 600 pixels and by 180 of 620.
        assert!(one.with(&corners, 0, 10).is_none());
        assert!(one.with(&corners, 0, 11).is_some());
    }
}
