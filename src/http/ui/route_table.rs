//! The answers that only the page asks for, and who may have each.

/// Who may have an answer of [`UI_ROUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UiAudience {
    /// Nobody in particular: it tells nothing of what is stored, or takes a code that says who may.
    Nobody,
    /// Whoever has a good token.
    Caller,
    /// Whoever may export what is asked for.
    Export,
    /// Whoever may read everything there is.
    Everything,
}

/// One answer that only the page asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UiRoute {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Who may have it.
    pub needs: UiAudience,
    /// What it is, for the description.
    pub about: &'static str,
}

/// Every answer beside the files.
pub const UI_ROUTES: &[UiRoute] = &[
    UiRoute {
        method: "GET",
        path: "/ui/api.json",
        needs: UiAudience::Nobody,
        about: "This description",
    },
    UiRoute {
        method: "GET",
        path: "/ui/config",
        needs: UiAudience::Nobody,
        about: "How people sign in, and the limits of an upload",
    },
    UiRoute {
        method: "GET",
        path: "/ui/dictionary",
        needs: UiAudience::Nobody,
        about: "Keywords of the attributes in the parameter tags: eight hexadecimal digits each, separated by commas",
    },
    UiRoute {
        method: "POST",
        path: "/ui/links/open",
        needs: UiAudience::Nobody,
        about: "Exchanges the code of a share link for a token that reads one study for some minutes",
    },
    UiRoute {
        method: "GET",
        path: "/ui/me",
        needs: UiAudience::Caller,
        about: "Who asks, and what they may do",
    },
    UiRoute {
        method: "POST",
        path: "/ui/links",
        needs: UiAudience::Export,
        about: "Makes the code of a link that reads one study until it expires",
    },
    UiRoute {
        method: "GET",
        path: "/ui/operations",
        needs: UiAudience::Everything,
        about: "The operations that began last, with their progress",
    },
    UiRoute {
        method: "GET",
        path: "/ui/damage",
        needs: UiAudience::Everything,
        about: "Damaged instances behind the number in the parameter after",
    },
    UiRoute {
        method: "GET",
        path: "/ui/status",
        needs: UiAudience::Everything,
        about: "Health, memory, limits, counts since the start",
    },
];
