//! Running a template over its data, with upstream's messages.

use super::Context;
use super::funcs::{call, signature};
use super::literal::Number;
use super::parse::{Arg, ArgKind, Branch, Command, List, Node, Pipe, Tree};
use super::time;
use super::value::{Type, Value};
use model::labels::quote;
use std::fmt::Display;
use std::sync::Arc;

/// Templates that call each other, at most.
const MAX_DEPTH: usize = 100;
/// Nodes that one template may walk, and bytes that it may write.
const MAX_STEPS: usize = 1_000_000;
const MAX_OUTPUT: usize = 16 << 20;

/// How a list ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Machine<'t> {
    name: &'t str,
    /// The template that is being run.
    running: String,
    text: &'t str,
    tree: &'t Tree,
    context: &'t Context<'t>,
    variables: Vec<(String, Value)>,
    depth: usize,
    steps: usize,
    out: String,
}

type Step<T> = Result<T, String>;

/// Runs a parsed template; the error is upstream's whole text.
pub(super) fn run(
    name: &str,
    text: &str,
    tree: &Tree,
    data: &Value,
    context: &Context<'_>,
) -> Result<String, String> {
    let mut machine = Machine {
        name,
        running: name.to_owned(),
        text,
        tree,
        context,
        variables: vec![("$".into(), data.clone())],
        depth: 0,
        steps: 0,
        out: String::new(),
    };
    machine.list(&tree.root, data)?;
    Ok(machine.out)
}

impl<'t> Machine<'t> {
    /// An error at a place of the template.
    fn error(&self, at: usize, shown: &dyn Display, message: impl Display) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rfind('\n').map_or(before.len(), |i| before.len() - i - 1);
        format!(
            "template: {}:{line}:{column}: executing {} at <{shown}>: {message}",
            self.name,
            quote(&self.running)
        )
    }

    fn write(&mut self, text: &str) -> Step<()> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(format!("template: {}: writes more than {MAX_OUTPUT} bytes", self.name));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, list: &'t List, dot: &Value) -> Step<Flow> {
        for node in list {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(format!("template: {}: takes more than {MAX_STEPS} steps", self.name));
            }
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Step<Flow> {
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.declares.is_empty() {
                    self.write(&value.printed())?;
                }
            }
            Node::If(branch) => return self.conditional(branch, dot, false),
            Node::With(branch) => return self.conditional(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { at, name, pipe } => self.template(*at, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn conditional(&mut self, branch: &'t Branch, dot: &Value, with: bool) -> Step<Flow> {
        let mark = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if value.truth() {
            self.list(&branch.then, if with { &value } else { dot })
        } else {
            branch.otherwise.as_ref().map_or(Ok(Flow::On), |list| self.list(list, dot))
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value) -> Step<Flow> {
        let mark = self.variables.len();
        let over = self.pipe(&branch.pipe, dot)?;
        let named = |(name, value): (&String, Value)| (Value::Text(name.clone()), value);
        let pipe = &branch.pipe;
        let items: Box<dyn Iterator<Item = (Value, Value)>> = match &over {
            Value::Int(n) if pipe.declares.len() > 1 => {
                let text = format!("can't use {n} to iterate over more than one variable");
                return Err(self.range_error(pipe, text));
            }
            Value::Int(n) => Box::new((0..*n).map(|i| (Value::Nil, Value::Int(i)))),
            Value::Samples(list) => Box::new(
                list.iter().enumerate().map(|(i, s)| (Value::Int(i as i64), Value::Sample(s.clone()))),
            ),
            Value::Labels(map) => Box::new(map.iter().map(|(k, v)| named((k, Value::Text(v.clone()))))),
            Value::Args(map) => Box::new(map.iter().map(|(k, v)| named((k, v.clone())))),
            Value::Nil => Box::new(std::iter::empty()),
            other => {
                let text = format!("range can't iterate over {}", other.verb_v());
                return Err(self.range_error(pipe, text));
            }
        };
        let inner = self.variables.len();
        let mut any = false;
        for (index, element) in items {
            any = true;
            self.bind(pipe, inner, index, &element);
            let flow = self.list(&branch.then, &element)?;
            self.variables.truncate(inner);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = match &branch.otherwise {
            Some(list) if !any => self.list(list, dot),
            _ => Ok(Flow::On),
        };
        self.variables.truncate(mark);
        flow
    }

    /// At the operand that was looked at last.
    fn range_error(&self, pipe: &Pipe, text: String) -> String {
        match pipe.commands.last().and_then(|c| c.args.last()) {
            Some(arg) => self.error(arg.at, arg, text),
            None => self.error(pipe.at, pipe, text),
        }
    }

    /// Gives the variables of a range their values of this round.
    fn bind(&mut self, pipe: &Pipe, inner: usize, index: Value, element: &Value) {
        let values = match pipe.declares.len() {
            0 => return,
            1 => vec![element.clone()],
            _ => vec![index, element.clone()],
        };
        let count = values.len();
        for (i, (name, value)) in pipe.declares.iter().zip(values).enumerate() {
            if pipe.assigns {
                self.set(name, value);
            } else if let Some(slot) =
                (inner + i).checked_sub(count).and_then(|at| self.variables.get_mut(at))
            {
                slot.1 = value;
            }
        }
    }

    fn template(&mut self, at: usize, name: &str, pipe: Option<&'t Pipe>, dot: &Value) -> Step<()> {
        let shown = match pipe {
            Some(pipe) => format!("{{{{template {} {pipe}}}}}", quote(name)),
            None => format!("{{{{template {}}}}}", quote(name)),
        };
        let tree = self.tree;
        let Some(list) = tree.defined.get(name).or((name == self.name).then_some(&tree.root)) else {
            return Err(self.error(at, &shown, format!("template {} not defined", quote(name))));
        };
        if self.depth >= MAX_DEPTH {
            return Err(self.error(at, &shown, format!("exceeded maximum template depth ({MAX_DEPTH})")));
        }
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        self.depth += 1;
        let outer = std::mem::replace(&mut self.variables, vec![("$".into(), dot.clone())]);
        let running = std::mem::replace(&mut self.running, name.to_owned());
        self.list(list, &dot)?;
        (self.variables, self.running) = (outer, running);
        self.depth -= 1;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) {
        if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Step<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.declares {
            if pipe.assigns {
                self.set(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &'t Command, dot: &Value, last: Option<Value>) -> Step<Value> {
        let first = &command.args[0];
        let rest = &command.args[1..];
        match &first.kind {
            ArgKind::Function(name) => {
                return self.function(name, rest, dot, last, (command.at, command));
            }
            ArgKind::Field(_) | ArgKind::Chain(..) => return self.reference(first, rest, dot, last),
            ArgKind::Variable(names) if names.len() > 1 => return self.reference(first, rest, dot, last),
            _ => {}
        }
        if !rest.is_empty() || last.is_some() {
            return Err(self.error(first.at, first, format!("can't give argument to non-function {first}")));
        }
        match &first.kind {
            ArgKind::Nil => Err(self.error(first.at, first, "nil is not a command")),
            _ => self.reference(first, rest, dot, None),
        }
    }

    /// The value of an operand that is no call; the last field of a chain may be a method with arguments.
    fn reference(&mut self, arg: &'t Arg, args: &'t [Arg], dot: &Value, last: Option<Value>) -> Step<Value> {
        match &arg.kind {
            ArgKind::Dot => Ok(dot.clone()),
            ArgKind::Nil => Ok(Value::Nil),
            ArgKind::Bool(b) => Ok(Value::Bool(*b)),
            ArgKind::Number { text, value } => self.constant(arg, text, *value),
            ArgKind::Text { value, .. } => Ok(Value::Text(value.clone())),
            ArgKind::Function(name) => self.function(name, &[], dot, None, (arg.at, arg)),
            ArgKind::Field(names) => self.fields(arg, dot.clone(), names, args, dot, last),
            ArgKind::Variable(names) => {
                let found = self.variables.iter().rev().find(|(n, _)| *n == names[0]);
                let Some(value) = found.map(|(_, v)| v.clone()) else {
                    return Err(self.error(arg.at, arg, format!("undefined variable: {}", names[0])));
                };
                self.fields(arg, value, &names[1..], args, dot, last)
            }
            ArgKind::Pipe(pipe) => self.pipe(pipe, dot),
            ArgKind::Chain(inner, names) => {
                let value = self.reference(inner, &[], dot, None)?;
                self.fields(arg, value, names, args, dot, last)
            }
        }
    }

    fn constant(&self, arg: &Arg, text: &str, value: Number) -> Step<Value> {
        match value.int {
            _ if value.fraction => Ok(Value::Float(value.float)),
            Some(i) => Ok(Value::Int(i)),
            None => Err(self.error(arg.at, arg, format!("{text} overflows int"))),
        }
    }

    fn fields(
        &mut self,
        arg: &'t Arg,
        mut value: Value,
        names: &'t [String],
        args: &'t [Arg],
        dot: &Value,
        mut last: Option<Value>,
    ) -> Step<Value> {
        let mut owner = Value::Nil;
        for (i, name) in names.iter().enumerate() {
            let ends = i + 1 == names.len();
            let args = if ends { args } else { &[] };
            let last = if ends { last.take() } else { None };
            // What stands in a field for any value keeps the field's type in messages.
            let any = i > 0 && names[i - 1] == "Value" && matches!(owner, Value::Data(_) | Value::Sample(_));
            let next = self.field(arg, &value, name, args, dot, last).map_err(|e| match any {
                true => e.replace(
                    &format!("can't evaluate field {name} in type {}", value.type_name()),
                    &format!("can't evaluate field {name} in type interface {{}}"),
                ),
                false => e,
            })?;
            owner = std::mem::replace(&mut value, next);
        }
        Ok(value)
    }

    fn field(
        &mut self,
        arg: &'t Arg,
        value: &Value,
        name: &str,
        args: &'t [Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Step<Value> {
        let parameters = match value {
            Value::Time(_) => time::parameters(name),
            Value::Duration(ns) => time::duration_method(*ns, name).map(|_| &[] as &[Type]),
            Value::Histogram(_) if name == "String" => Some(&[] as &[Type]),
            _ => None,
        };
        if let Some(parameters) = parameters {
            let given = self.arguments(name, parameters, None, args, dot, last, (arg.at, arg))?;
            let got = match value {
                Value::Time(t) => time::method(*t, name, &given),
                Value::Duration(ns) => time::duration_method(*ns, name),
                other => Some(Value::Text(other.verb_v())),
            };
            return Ok(got.unwrap_or(Value::Nil));
        }
        let has_args = !args.is_empty() || last.is_some();
        let field = match (value, name) {
            (Value::Nil, _) => return Ok(Value::Nil),
            (Value::Labels(_) | Value::Args(_), _) if has_args => {
                return Err(self.error(arg.at, arg, format!("{name} is not a method but has arguments")));
            }
            (Value::Labels(map), _) => return Ok(Value::Text(map.get(name).cloned().unwrap_or_default())),
            (Value::Args(map), _) => return Ok(map.get(name).cloned().unwrap_or(Value::Nil)),
            (Value::Sample(s), "Labels") => Value::Labels(s.labels.clone()),
            (Value::Sample(s), "Value") => s.value.clone(),
            (Value::Data(d), "Labels") => Value::Labels(d.labels.clone()),
            (Value::Data(d), "ExternalLabels") => Value::Labels(d.external_labels.clone()),
            (Value::Data(d), "ExternalURL") => Value::Text(d.external_url.clone()),
            (Value::Data(d), "Value") => d.value.clone(),
            (Value::Histogram(h), "Count") => Value::Float(h.count),
            (Value::Histogram(h), "Sum") => Value::Float(h.sum),
            (Value::Histogram(h), "ZeroCount") => Value::Float(h.zero_count),
            (Value::Histogram(h), "ZeroThreshold") => Value::Float(h.zero_threshold),
            (Value::Histogram(h), "Schema") => Value::Int(i64::from(h.schema)),
            (other, _) => {
                let text = format!("can't evaluate field {name} in type {}", other.type_name());
                return Err(self.error(arg.at, arg, text));
            }
        };
        if has_args {
            let text = format!("{name} has arguments but cannot be invoked as function");
            return Err(self.error(arg.at, arg, text));
        }
        Ok(field)
    }

    fn function(
        &mut self,
        name: &str,
        args: &'t [Arg],
        dot: &Value,
        last: Option<Value>,
        node: (usize, &dyn Display),
    ) -> Step<Value> {
        let Some(signature) = signature(name) else {
            return Err(self.error(node.0, node.1, format!("{} is not a defined function", quote(name))));
        };
        if matches!(name, "and" | "or") {
            let count = args.len() + usize::from(last.is_some());
            if count == 0 {
                let text = format!("wrong number of args for {name}: want at least 1 got 0");
                return Err(self.error(node.0, &name, text));
            }
            let mut value = Value::Nil;
            for arg in args {
                value = self.argument(arg, Type::Any, dot)?;
                if value.truth() == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let named = (node.0, &name as &dyn Display);
        let given = self.arguments(name, signature.fixed, signature.rest, args, dot, last, named)?;
        call(name, &given, self.context)
            .map_err(|e| self.error(node.0, node.1, format!("error calling {name}: {e}")))
    }

    #[expect(clippy::too_many_arguments, reason = "a call site with its node for messages")]
    fn arguments(
        &mut self,
        name: &str,
        fixed: &[Type],
        rest: Option<Type>,
        args: &'t [Arg],
        dot: &Value,
        last: Option<Value>,
        node: (usize, &dyn Display),
    ) -> Step<Vec<Value>> {
        let count = args.len() + usize::from(last.is_some());
        if rest.is_some() && count < fixed.len() {
            let text =
                format!("wrong number of args for {name}: want at least {} got {}", fixed.len(), args.len());
            return Err(self.error(node.0, node.1, text));
        }
        if rest.is_none() && count != fixed.len() {
            let text = format!("wrong number of args for {name}: want {} got {count}", fixed.len());
            return Err(self.error(node.0, node.1, text));
        }
        let type_of = |i: usize| fixed.get(i).copied().or(rest).unwrap_or(Type::Any);
        let mut given = Vec::with_capacity(count);
        for (i, arg) in args.iter().enumerate() {
            given.push(self.argument(arg, type_of(i), dot)?);
        }
        if let Some(last) = last {
            let wanted = type_of(args.len());
            let at = args.last().map_or(node.0, |a| a.at);
            let shown: &dyn Display = args.last().map_or(node.1, |a| a);
            given.push(self.checked(last, wanted, at, shown)?);
        }
        Ok(given)
    }

    fn checked(&self, value: Value, wanted: Type, at: usize, shown: &dyn Display) -> Step<Value> {
        if wanted.takes(&value) {
            return Ok(value);
        }
        let text = match value {
            Value::Nil => format!("invalid value; expected {}", wanted.name()),
            other => format!("wrong type for value; expected {}; got {}", wanted.name(), other.type_name()),
        };
        Err(self.error(at, shown, text))
    }

    fn argument(&mut self, arg: &'t Arg, wanted: Type, dot: &Value) -> Step<Value> {
        let text = match (&arg.kind, wanted) {
            (ArgKind::Nil, Type::Text) => format!("cannot assign nil to {}", wanted.name()),
            (ArgKind::Number { .. } | ArgKind::Bool(_), Type::Text) => {
                format!("expected string; found {arg}")
            }
            (
                ArgKind::Number { .. } | ArgKind::Bool(_) | ArgKind::Text { .. },
                Type::Sample | Type::Samples,
            ) => format!("can't handle {arg} for arg of type {}", wanted.name()),
            _ => {
                let value = self.reference(arg, &[], dot, None)?;
                return self.checked(value, wanted, arg.at, arg);
            }
        };
        Err(self.error(arg.at, arg, text))
    }
}

/// A data value for a template.
pub(super) fn data(data: super::value::Data) -> Value {
    Value::Data(Arc::new(data))
}
