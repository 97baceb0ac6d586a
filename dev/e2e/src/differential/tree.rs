//! A generated query as a tree of text pieces, so that one that differs can be made smaller.

/// A piece of a query.
#[derive(Clone, Debug)]
pub enum Part {
    Text(String),
    Child(Tree),
}

/// One expression: text with expressions inside.
#[derive(Clone, Debug, Default)]
pub struct Tree(pub Vec<Part>);

impl Tree {
    pub fn text(text: impl Into<String>) -> Self {
        Tree(vec![Part::Text(text.into())])
    }

    /// Adds text.
    #[must_use]
    pub fn t(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    /// Adds an expression.
    #[must_use]
    pub fn c(mut self, child: Tree) -> Self {
        self.0.push(Part::Child(child));
        self
    }

    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Child(child) => child.write(out),
            }
        }
    }

    pub fn children(&self) -> impl Iterator<Item = &Tree> {
        self.0.iter().filter_map(|p| match p {
            Part::Child(c) => Some(c),
            Part::Text(_) => None,
        })
    }

    /// All expressions below this one.
    pub fn descendants(&self) -> Vec<&Tree> {
        let mut out = Vec::new();
        for child in self.children() {
            out.push(child);
            out.extend(child.descendants());
        }
        out
    }

    /// Every tree that is this one with one child (at any depth) replaced by something below that child.
    pub fn smaller(&self) -> Vec<Tree> {
        let mut out: Vec<Tree> = self.descendants().into_iter().cloned().collect();
        for (i, part) in self.0.iter().enumerate() {
            let Part::Child(child) = part else { continue };
            for smaller in child.smaller() {
                let mut parts = self.0.clone();
                parts[i] = Part::Child(smaller);
                out.push(Tree(parts));
            }
        }
        out.sort_by_key(|t| t.render().len());
        out
    }
}
