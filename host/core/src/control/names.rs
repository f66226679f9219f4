//! The texts and numbers by which clients choose among a unit's options, in the spellings of every age. The labels
//! are those of today, as replies and infotext show them.

use super::{ControlMode, HighResOption, ResizeMode};

impl ControlMode {
    pub const ALL: [Self; 3] = [Self::Balanced, Self::Prompt, Self::Control];

    pub fn label(self) -> &'static str {
        match self {
            Self::Balanced => "Balanced",
            Self::Prompt => "My prompt is more important",
            Self::Control => "ControlNet is more important",
        }
    }

    /// By label in any case.
    pub fn parse(text: &str) -> Option<Self> {
        by_label(&Self::ALL, Self::label, text)
    }

    /// By place, as older clients send it.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl ResizeMode {
    pub const ALL: [Self; 3] = [Self::JustResize, Self::CropAndResize, Self::ResizeAndFill];

    pub fn label(self) -> &'static str {
        match self {
            Self::JustResize => "Just Resize",
            Self::CropAndResize => "Crop and Resize",
            Self::ResizeAndFill => "Resize and Fill",
        }
    }

    fn old_labels(self) -> &'static [&'static str] {
        match self {
            Self::JustResize => &[],
            Self::CropAndResize => &["Inner Fit (Scale to Fit)", "Scale to Fit (Inner Fit)"],
            Self::ResizeAndFill => &["Outer Fit (Shrink to Fit)", "Envelope (Outer Fit)"],
        }
    }

    /// By label, new or old, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let old = || {
            let named = |mode: &Self| mode.old_labels().iter().any(|name| same(name, text));
            Self::ALL.into_iter().find(named)
        };
        by_label(&Self::ALL, Self::label, text).or_else(old)
    }

    /// By place, as older clients send it. Web UIs take a number that names none as "Just Resize", so no number is
    /// refused.
    pub fn from_number(number: i64) -> Self {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        Self::ALL.get(at).copied().unwrap_or(Self::JustResize)
    }
}

impl HighResOption {
    pub const ALL: [Self; 3] = [Self::Both, Self::LowResOnly, Self::HighResOnly];

    pub fn label(self) -> &'static str {
        match self {
            Self::Both => "Both",
            Self::LowResOnly => "Low res only",
            Self::HighResOnly => "High res only",
        }
    }

    /// By label in any case.
    pub fn parse(text: &str) -> Option<Self> {
        by_label(&Self::ALL, Self::label, text)
    }

    /// By place.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

fn by_label<T: Copy>(all: &[T], label: fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|option| same(label(*option), text))
}

fn same(label: &str, text: &str) -> bool {
    label.eq_ignore_ascii_case(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_by_label_in_any_case() {
        for mode in ControlMode::ALL {
            assert_eq!(ControlMode::parse(&mode.label().to_uppercase()), Some(mode));
        }
        for mode in ResizeMode::ALL {
            assert_eq!(ResizeMode::parse(&format!(" {} ", mode.label().to_lowercase())), Some(mode));
        }
        for option in HighResOption::ALL {
            assert_eq!(HighResOption::parse(&option.label().to_lowercase()), Some(option));
        }
        assert_eq!(ControlMode::parse("my prompt is more important"), Some(ControlMode::Prompt));
        assert_eq!(ControlMode::parse("Important"), None);
        assert_eq!(ResizeMode::parse(""), None);
        assert_eq!(HighResOption::parse("both passes"), None);
    }

    #[test]
    fn resize_modes_are_found_by_their_old_names() {
        for (text, want) in [
            ("Inner Fit (Scale to Fit)", ResizeMode::CropAndResize),
            ("Scale to Fit (Inner Fit)", ResizeMode::CropAndResize),
            ("outer fit (shrink to fit)", ResizeMode::ResizeAndFill),
            ("Envelope (Outer Fit)", ResizeMode::ResizeAndFill),
        ] {
            assert_eq!(ResizeMode::parse(text), Some(want), "{text}");
        }
    }

    #[test]
    fn numbers_name_options_by_place() {
        assert_eq!([0, 1, 2].map(|n| ControlMode::from_number(n).unwrap()), ControlMode::ALL);
        assert_eq!([0, 1, 2].map(ResizeMode::from_number), ResizeMode::ALL);
        assert_eq!([0, 1, 2].map(|n| HighResOption::from_number(n).unwrap()), HighResOption::ALL);
        assert_eq!([3, -1, i64::MAX].map(ResizeMode::from_number), [ResizeMode::JustResize; 3]);
        assert_eq!([3, -1].map(ControlMode::from_number), [None; 2]);
        assert_eq!([3, -1].map(HighResOption::from_number), [None; 2]);
    }
}
