//! HTML that is well-formed by the way it is written: each element ends where its closure ends, and each text and
//! each value of an attribute is escaped.

/// A document that grows.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// `<tag attributes>`, what `inside` writes, `</tag>`.
    pub(super) fn element(&mut self, tag: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Self)) {
        self.open(tag, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// An element with nothing inside.
    pub(super) fn empty(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        self.open(tag, attributes);
        self.0.push_str("/>");
    }

    /// An element with text alone.
    pub(super) fn line(&mut self, tag: &str, attributes: &[(&str, &str)], text: &str) {
        self.element(tag, attributes, |html| html.text(text));
    }

    /// Text, whoever wrote it.
    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in a document, or able to turn around what stands beside it.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                    self.0.push('\u{fffd}');
                }
                c => self.0.push(c),
            }
        }
    }

    /// Text of this program that is to stay as it is, such as a style sheet.
    pub(super) fn own(&mut self, text: &'static str) {
        self.0.push_str(text);
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn open(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Html;

    #[test]
    fn what_others_wrote_is_text_and_nothing_else() {
        let mut html = Html::default();
        html.element("p", &[("title", "\"><script>alert(1)</script>")], |html| {
            html.text("</p><script>'&\u{1b}\u{202e}");
            html.empty("br", &[]);
        });
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\">&lt;/p&gt;&lt;script&gt;&#39;&amp;\u{fffd}\u{fffd}<br/></p>"
        );
    }
}
