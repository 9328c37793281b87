//! One document written twice: as HTML and as plain text.

/// Longest document, in bytes of HTML; what comes after is left out.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;
/// Levels of plain text that are indented; deeper ones stay at this depth.
const MAX_INDENT: usize = 32;

/// A document in the making.
pub(super) struct DocumentWriter {
    html: String,
    plain: String,
    /// For each open list, whether it has an open entry.
    lists: Vec<bool>,
    in_table: bool,
    full: bool,
}

impl DocumentWriter {
    /// A document with its title.
    pub(super) fn new(title: &str) -> Self {
        let escaped = escape(title);
        // The policy keeps a browser from loading anything, whatever a report says.
        let html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n<title>{escaped}</title>\n<style>\
             body{{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}}\
             th{{text-align:left;padding-right:1em}}ul{{padding-left:1.2em}}\
             li{{white-space:pre-wrap}}</style></head>\n<body>\n<h1>{escaped}</h1>\n"
        );
        let plain = format!("{}\n\n", one_line(title));
        Self {
            html,
            plain,
            lists: Vec::new(),
            in_table: false,
            full: false,
        }
    }

    /// A labeled value above the content.
    pub(super) fn row(&mut self, label: &str, value: &str) {
        if !self.in_table {
            self.html.push_str("<table>\n");
            self.in_table = true;
        }
        let (label_html, value_html) = (escape(label), escape(value));
        self.html.push_str(&format!(
            "<tr><th>{label_html}</th><td>{value_html}</td></tr>\n"
        ));
        self.plain
            .push_str(&format!("{label}: {}\n", one_line(value)));
    }

    /// Begins a list below the last item.
    pub(super) fn open_list(&mut self) {
        if self.in_table {
            self.html.push_str("</table>\n");
            self.plain.push('\n');
            self.in_table = false;
        }
        self.html.push_str("<ul>\n");
        self.lists.push(false);
    }

    /// Ends the list begun last.
    pub(super) fn close_list(&mut self) {
        match self.lists.pop() {
            Some(true) => self.html.push_str("</li></ul>\n"),
            Some(false) => self.html.push_str("</ul>\n"),
            None => {}
        }
    }

    /// An entry of a list; either part may be empty.
    pub(super) fn item(&mut self, label: &str, value: &str) {
        if self
            .html
            .len()
            .saturating_add(label.len())
            .saturating_add(value.len())
            > MAX_DOCUMENT
        {
            self.full = true;
            return;
        }
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(MAX_INDENT));
        let (label_html, value_html) = (escape(label), escape(value));
        let colon = if label.is_empty() || value.is_empty() {
            ""
        } else {
            ": "
        };
        if let Some(open) = self.lists.last_mut()
            && std::mem::replace(open, true)
        {
            self.html.push_str("</li>\n");
        }
        self.html
            .push_str(&format!("<li><b>{label_html}</b>{colon}{value_html}"));
        let value = value
            .replace("\r\n", "\n")
            .replace('\n', &format!("\n{indent}  "));
        self.plain
            .push_str(&format!("{indent}{}{colon}{value}\n", one_line(label)));
    }

    /// The HTML and the plain text.
    pub(super) fn finish(mut self) -> (String, String) {
        while !self.lists.is_empty() {
            self.close_list();
        }
        if self.in_table {
            self.html.push_str("</table>\n");
        }
        if self.full {
            self.html
                .push_str("<p>The rest is too long to be shown.</p>\n");
            self.plain.push_str("The rest is too long to be shown.\n");
        }
        self.html.push_str("</body></html>\n");
        (self.html, self.plain)
    }
}

/// Text that HTML takes literally; control characters are dropped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
