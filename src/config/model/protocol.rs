//! What the protocol field says.

/// Which addresses a service is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Families {
    Both,
    V4,
    V6,
}

/// The protocol field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Protocol {
    Tcp(Families),
    Udp(Families),
    Unix,
    Vsock,
}

impl Protocol {
    /// The name in the services database and in labels.
    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Unix => "unix",
            Self::Vsock => "vsock",
        }
    }

    /// The same, if its families are others.
    pub(in crate::config) fn on(self, families: Option<Families>) -> Self {
        match (self, families) {
            (Self::Tcp(_), Some(families)) => Self::Tcp(families),
            (Self::Udp(_), Some(families)) => Self::Udp(families),
            _ => self,
        }
    }

    /// Which addresses it means.
    pub(in crate::config) fn families(self) -> Families {
        match self {
            Self::Tcp(families) | Self::Udp(families) => families,
            Self::Unix | Self::Vsock => Families::Both,
        }
    }
}
