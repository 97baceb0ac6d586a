//! Tokens of a template to its tree, with upstream's messages.

use super::funcs::is_function;
use super::lex::{Kind, Token, lex};
use super::literal::{Number, number, unquote};
use model::labels::quote;
use std::collections::BTreeMap;

/// Parentheses and blocks inside each other, at most.
const MAX_NESTING: usize = 200;

pub(super) type List = Vec<Node>;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { at: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: List,
    pub(super) otherwise: Option<List>,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) declares: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) args: Vec<Arg>,
}

#[derive(Debug)]
pub(super) struct Arg {
    pub(super) at: usize,
    pub(super) kind: ArgKind,
}

#[derive(Debug)]
pub(super) enum ArgKind {
    Dot,
    Nil,
    Bool(bool),
    Number {
        text: String,
        value: Number,
    },
    Text {
        spelling: String,
        value: String,
    },
    Function(String),
    Field(Vec<String>),
    /// Name with `$`, then fields.
    Variable(Vec<String>),
    Pipe(Pipe),
    Chain(Box<Arg>, Vec<String>),
}

/// A parsed template with the ones that it defines.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: List,
    pub(super) defined: BTreeMap<String, List>,
}

/// What ended a list.
#[derive(PartialEq)]
enum Stop {
    End,
    Else,
    Eof,
}

impl Stop {
    fn shown(&self) -> &'static str {
        match self {
            Stop::End => "{{end}}",
            Stop::Else => "{{else}}",
            Stop::Eof => "EOF",
        }
    }
}

struct Parser<'a> {
    name: &'a str,
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    ranges: usize,
    depth: usize,
    /// Line on which the current action began.
    action_line: usize,
    defined: BTreeMap<String, List>,
}

/// Parses a template; the error is upstream's whole text.
pub(super) fn parse(name: &str, text: &str) -> Result<Tree, String> {
    let mut parser = Parser {
        name,
        tokens: lex(text),
        next: 0,
        variables: vec!["$".into()],
        ranges: 0,
        depth: 0,
        action_line: 0,
        defined: BTreeMap::new(),
    };
    let (root, end) = parser.list(true)?;
    if end != Stop::Eof {
        return Err(parser.error(format!("unexpected {}", end.shown())));
    }
    Ok(Tree { root, defined: parser.defined })
}

type Step<T> = Result<T, String>;

impl Parser<'_> {
    fn error(&self, text: impl std::fmt::Display) -> String {
        let last = self.next.saturating_sub(1).min(self.tokens.len().saturating_sub(1));
        let line = self.tokens.get(last).map_or(1, |t| t.line);
        format!("template: {}:{line}: {text}", self.name)
    }

    fn peek(&self) -> Kind {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(Kind::Eof, |t| t.kind)
    }

    fn take(&mut self) -> Token {
        let token = self.tokens.get(self.next).or(self.tokens.last()).cloned();
        self.next = (self.next + 1).min(self.tokens.len());
        token.unwrap_or(Token { kind: Kind::Eof, at: 0, line: 1, text: String::new() })
    }

    fn skip_space(&mut self) {
        while self.peek() == Kind::Space {
            self.next += 1;
        }
    }

    fn peek_word(&mut self) -> Kind {
        self.skip_space();
        self.peek()
    }

    fn word(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    fn at(&mut self) -> usize {
        self.skip_space();
        self.tokens.get(self.next).map_or(0, |t| t.at)
    }

    fn is_keyword(&mut self, word: &str) -> bool {
        self.peek_word() == Kind::Keyword && self.tokens.get(self.next).is_some_and(|t| t.text == word)
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Step<T> {
        if token.kind != Kind::Error {
            return Err(self.error(format!("unexpected {} in {context}", token.shown())));
        }
        let started = format!("{}:{}", self.name, self.action_line);
        let extra = match () {
            () if self.action_line == 0 || self.action_line == token.line => String::new(),
            () if token.text.ends_with(" action") => format!(" started at {started}"),
            () => format!(" in action started at {started}"),
        };
        Err(self.error(format!("{}{extra}", token.text)))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Step<Token> {
        let token = self.word();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if self.depth >= MAX_NESTING {
            return Err(self.error("max expression depth exceeded"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Text and actions up to `{{end}}`, `{{else}}` or, at the top, the end.
    fn list(&mut self, top: bool) -> Step<(List, Stop)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.word();
            match token.kind {
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Eof if top => return Ok((nodes, Stop::Eof)),
                Kind::Eof => return Err(self.error("unexpected EOF")),
                Kind::Left => {
                    self.action_line = token.line;
                    let end = self.action(&mut nodes, top)?;
                    self.action_line = 0;
                    if let Some(end) = end {
                        return Ok((nodes, end));
                    }
                }
                _ => return self.unexpected(&token, "input"),
            }
        }
    }

    fn action(&mut self, nodes: &mut List, top: bool) -> Step<Option<Stop>> {
        if self.peek_word() != Kind::Keyword {
            let pipe = self.pipe("command", Kind::Right)?;
            nodes.push(Node::Action(pipe));
            return Ok(None);
        }
        let keyword = self.take();
        match keyword.text.as_str() {
            "if" => {
                let branch = self.deeper(|p| p.branch("if"))?;
                nodes.push(Node::If(branch));
            }
            "with" => {
                let branch = self.deeper(|p| p.branch("with"))?;
                nodes.push(Node::With(branch));
            }
            "range" => {
                let branch = self.deeper(|p| p.branch("range"))?;
                nodes.push(Node::Range(branch));
            }
            "end" => {
                self.expect(Kind::Right, "end")?;
                return Ok(Some(Stop::End));
            }
            "else" => {
                if !self.is_keyword("if") && !self.is_keyword("with") {
                    self.expect(Kind::Right, "else")?;
                }
                return Ok(Some(Stop::Else));
            }
            "template" => {
                let (at, name) = self.template_name("template clause")?;
                let pipe = match self.peek_word() {
                    Kind::Right => {
                        self.take();
                        None
                    }
                    _ => Some(self.pipe("template clause", Kind::Right)?),
                };
                nodes.push(Node::Template { at, name, pipe });
            }
            "block" => {
                let (at, name) = self.template_name("block clause")?;
                let pipe = self.pipe("block clause", Kind::Right)?;
                self.definition(&name, "block clause")?;
                nodes.push(Node::Template { at, name, pipe: Some(pipe) });
            }
            "define" if top => {
                let (_, name) = self.template_name("define clause")?;
                self.expect(Kind::Right, "define clause")?;
                self.definition(&name, "define clause")?;
            }
            "break" | "continue" => nodes.push(self.leave(&keyword.text)?),
            _ => return self.unexpected(&keyword, "command"),
        }
        Ok(None)
    }

    fn leave(&mut self, keyword: &str) -> Step<Node> {
        self.expect(Kind::Right, &format!("{{{{{keyword}}}}}"))?;
        if self.ranges == 0 {
            return Err(self.error(format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
        }
        Ok(if keyword == "break" { Node::Break } else { Node::Continue })
    }

    fn template_name(&mut self, context: &str) -> Step<(usize, String)> {
        let token = self.word();
        match token.kind {
            Kind::Quoted | Kind::Raw => match unquote(&token.text) {
                Some(name) => Ok((token.at, name)),
                None => Err(self.error("invalid syntax")),
            },
            _ => self.unexpected(&token, context),
        }
    }

    /// The body of a template with a name; it sees none of the variables outside.
    fn definition(&mut self, name: &str, context: &str) -> Step<()> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (list, end) = self.deeper(|p| p.list(false))?;
        if end != Stop::End {
            return Err(self.error(format!("unexpected {} in {context}", end.shown())));
        }
        (self.variables, self.ranges) = (outer, ranges);
        self.defined.insert(name.to_owned(), list);
        Ok(())
    }

    fn branch(&mut self, context: &str) -> Step<Branch> {
        let variables = self.variables.len();
        let pipe = self.pipe(context, Kind::Right)?;
        let range = usize::from(context == "range");
        self.ranges += range;
        let (then, end) = self.list(false)?;
        self.ranges -= range;
        let mut otherwise = None;
        if end == Stop::Else {
            if context != "range" && self.is_keyword(context) {
                self.take();
                let branch = self.deeper(|p| p.branch(context))?;
                otherwise = Some(vec![if context == "if" { Node::If(branch) } else { Node::With(branch) }]);
            } else {
                let (list, end) = self.list(false)?;
                if end != Stop::End {
                    return Err(self.error(format!("expected end; found {}", end.shown())));
                }
                otherwise = Some(list);
            }
        }
        self.variables.truncate(variables);
        Ok(Branch { pipe, then, otherwise })
    }

    /// `$i, $x := ` in front of a pipeline.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Step<()> {
        while self.peek_word() == Kind::Variable {
            let start = self.next;
            let variable = self.take().text;
            match self.peek_word() {
                Kind::Assign | Kind::Declare => {
                    pipe.assigns = self.take().kind == Kind::Assign;
                    self.variables.push(variable.clone());
                    pipe.declares.push(variable);
                    return Ok(());
                }
                Kind::Comma => {
                    self.take();
                    self.variables.push(variable.clone());
                    pipe.declares.push(variable);
                    if context != "range" || pipe.declares.len() > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    if !matches!(self.peek_word(), Kind::Variable | Kind::Right | Kind::RightParen) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn pipe(&mut self, context: &str, end: Kind) -> Step<Pipe> {
        let at = self.at();
        let mut pipe = Pipe { at, declares: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            match self.peek_word() {
                kind if kind == end => {
                    self.take();
                    break;
                }
                Kind::Bool
                | Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => {
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => {
                    let token = self.take();
                    return self.unexpected(&token, context);
                }
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            use ArgKind::{Bool, Dot, Nil, Number, Text};
            if matches!(command.args[0].kind, Bool(_) | Dot | Nil | Number { .. } | Text { .. }) {
                return Err(self.error(format!("non executable command in pipeline stage {}", i + 1)));
            }
        }
        Ok(pipe)
    }

    fn command(&mut self) -> Step<Command> {
        let mut command = Command { at: self.at(), args: Vec::new() };
        loop {
            self.skip_space();
            if let Some(arg) = self.operand()? {
                command.args.push(arg);
            }
            match self.peek() {
                Kind::Space => continue,
                Kind::Right | Kind::RightParen => {}
                Kind::Pipe => {
                    self.take();
                }
                _ => {
                    let token = self.take();
                    return self.unexpected(&token, "operand");
                }
            }
            break;
        }
        if command.args.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(command)
    }

    fn operand(&mut self) -> Step<Option<Arg>> {
        let Some(arg) = self.term()? else { return Ok(None) };
        if self.peek() != Kind::Field {
            return Ok(Some(arg));
        }
        let at = self.at();
        let mut fields = Vec::new();
        while self.peek() == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        let kind = match arg.kind {
            ArgKind::Field(mut names) => {
                names.extend(fields);
                ArgKind::Field(names)
            }
            ArgKind::Variable(mut names) => {
                names.extend(fields);
                ArgKind::Variable(names)
            }
            ArgKind::Function(_) | ArgKind::Pipe(_) | ArgKind::Chain(..) => {
                ArgKind::Chain(Box::new(arg), fields)
            }
            _ => return Err(self.error(format!("unexpected . after term {}", quote(&arg.to_string())))),
        };
        Ok(Some(Arg { at, kind }))
    }

    fn term(&mut self) -> Step<Option<Arg>> {
        let start = self.next;
        let token = self.take();
        let kind = match token.kind {
            Kind::Identifier if is_function(&token.text) => ArgKind::Function(token.text),
            Kind::Identifier => {
                return Err(self.error(format!("function {} not defined", quote(&token.text))));
            }
            Kind::Dot => ArgKind::Dot,
            Kind::Nil => ArgKind::Nil,
            Kind::Variable if self.variables.contains(&token.text) => ArgKind::Variable(vec![token.text]),
            Kind::Variable => return Err(self.error(format!("undefined variable {}", quote(&token.text)))),
            Kind::Field => ArgKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => ArgKind::Bool(token.text == "true"),
            Kind::Number => match number(&token.text) {
                Some(value) => ArgKind::Number { text: token.text, value },
                None => return Err(self.error(format!("illegal number syntax: {}", quote(&token.text)))),
            },
            Kind::Char => {
                match unquote(&token.text).as_deref().map(|t| (t.chars().count(), t.chars().next())) {
                    Some((1, Some(c))) => {
                        let value =
                            Number { int: Some(c as i64), float: f64::from(c as u32), fraction: false };
                        ArgKind::Number { text: token.text, value }
                    }
                    _ => return Err(self.error(format!("malformed character constant: {}", token.text))),
                }
            }
            Kind::LeftParen => {
                ArgKind::Pipe(self.deeper(|p| p.pipe("parenthesized pipeline", Kind::RightParen))?)
            }
            Kind::Quoted | Kind::Raw => match unquote(&token.text) {
                Some(value) => ArgKind::Text { spelling: token.text, value },
                None => return Err(self.error("invalid syntax")),
            },
            _ => {
                self.next = start;
                return Ok(None);
            }
        };
        Ok(Some(Arg { at: token.at, kind }))
    }
}

impl std::fmt::Display for Arg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            ArgKind::Dot => f.write_str("."),
            ArgKind::Nil => f.write_str("nil"),
            ArgKind::Bool(b) => write!(f, "{b}"),
            ArgKind::Number { text, .. } => f.write_str(text),
            ArgKind::Text { spelling, .. } => f.write_str(spelling),
            ArgKind::Function(name) => f.write_str(name),
            ArgKind::Field(names) => names.iter().try_for_each(|n| write!(f, ".{n}")),
            ArgKind::Variable(names) => f.write_str(&names.join(".")),
            ArgKind::Pipe(pipe) => write!(f, "({pipe})"),
            ArgKind::Chain(arg, names) => {
                arg.fmt(f)?;
                names.iter().try_for_each(|n| write!(f, ".{n}"))
            }
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, arg) in self.args.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            arg.fmt(f)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.declares.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.declares.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}
