//! A Grafana dashboard as a value, and its JSON: the classic model, schema 39, which Grafana 10 to 12 import.
//!
//! Panels are laid out in rows from left to right, so none can overlap; ids follow the order. What every panel of a kind
//! has in common stands here, so that a dashboard's file says only what its reader came for.

use serde_json::{Map, Value, json};

/// Width of Grafana's grid.
pub(super) const COLUMNS: u32 = 24;

/// A dashboard.
#[derive(Debug)]
pub(super) struct Dashboard {
    /// Its file's name without `.json`, and the end of its uid.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) from: &'static str,
    pub(super) refresh: &'static str,
    pub(super) variables: Vec<Variable>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) links: Vec<Link>,
    pub(super) rows: Vec<Row>,
}

/// The uid of the dashboard called `name`.
pub(super) fn uid(name: &str) -> String {
    format!("bornright-{name}")
}

/// A variable at the top of a dashboard.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) kind: VariableKind,
}

/// Where its values come from.
#[derive(Debug)]
pub(super) enum VariableKind {
    /// The Prometheus that is asked.
    Datasource,
    /// The values of a label of the series that an expression yields.
    Values { expr: String, label: &'static str, many: bool, all_is_any: bool },
    /// A hidden constant.
    Constant(String),
}

/// Events that are drawn into the graphs.
#[derive(Debug)]
pub(super) struct Annotation {
    pub(super) name: &'static str,
    pub(super) expr: String,
    pub(super) color: &'static str,
    pub(super) title: &'static str,
    pub(super) text: &'static str,
}

/// A link at the top of a dashboard, or of a value.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) title: &'static str,
    pub(super) url: String,
}

/// Panels under one heading.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// A panel.
#[derive(Debug)]
pub(super) struct Panel {
    kind: Kind,
    title: &'static str,
    description: &'static str,
    width: u32,
    height: u32,
    targets: Vec<Target>,
    unit: Unit,
    decimals: Option<u32>,
    min: Option<f64>,
    max: Option<f64>,
    steps: Vec<(Option<f64>, Color)>,
    /// Draw the thresholds as lines.
    threshold_lines: bool,
    mappings: Vec<Mapping>,
    no_value: &'static str,
    links: Vec<Link>,
    overrides: Vec<Value>,
    transformations: Vec<Value>,
    options: Vec<(&'static str, Value)>,
    custom: Vec<(&'static str, Value)>,
    time_from: Option<&'static str>,
    interval: Option<&'static str>,
    columns: Vec<Column>,
}

/// How a panel draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stat,
    BarGauge,
    TimeSeries,
    StateTimeline,
    Table,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Kind::Stat => "stat",
            Kind::BarGauge => "bargauge",
            Kind::TimeSeries => "timeseries",
            Kind::StateTimeline => "state-timeline",
            Kind::Table => "table",
        }
    }
}

#[derive(Debug)]
struct Target {
    legend: String,
    expr: String,
    instant: bool,
}

/// What a number is, as Grafana spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// 0 to 1, shown as per cent.
    Ratio,
    /// A count.
    Count,
    /// A factor of the budget's even use.
    Burn,
    Seconds,
    /// Seconds since the epoch in the query, times 1000.
    Instant,
    Days,
    /// Only its words matter.
    Word,
    PerSecond,
}

impl Unit {
    const fn word(self) -> &'static str {
        match self {
            Unit::Ratio => "percentunit",
            Unit::Count => "locale",
            Unit::Burn => "suffix:×",
            Unit::Seconds => "s",
            Unit::Instant => "dateTimeAsIso",
            Unit::Days => "suffix: days",
            Unit::Word => "none",
            Unit::PerSecond => "reqps",
        }
    }
}

/// A color that means something; the same thing in every panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    /// As it should be.
    Good,
    /// Look at it this week.
    Warn,
    /// Not as it should be.
    Bad,
    /// Nothing is known.
    Unknown,
    /// Left out by a decision of ours.
    Waived,
    /// A number without a judgement.
    Plain,
    /// A severity between bad and warn.
    High,
}

impl Color {
    /// Colors that people who do not tell red from green tell apart too.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Color::Good => "#3d9970",
            Color::Warn => "#e0a800",
            Color::Bad => "#c4162a",
            Color::Unknown => "#8e8e8e",
            Color::Waived => "#5b8fd9",
            Color::Plain => "#6e9fff",
            Color::High => "#e8702a",
        }
    }
}

/// What is written in place of a number.
#[derive(Debug, Clone)]
pub(super) enum Mapping {
    Is(f64, &'static str, Color),
    From(f64, &'static str, Color),
    To(f64, &'static str, Color),
}

/// A column of a table.
#[derive(Debug)]
pub(super) struct Column {
    /// The label, or `None` for the value of the target with this column's title.
    label: Option<&'static str>,
    title: &'static str,
    unit: Unit,
    decimals: Option<u32>,
    width: Option<u32>,
    cell: Cell,
    steps: Vec<(Option<f64>, Color)>,
    mappings: Vec<Mapping>,
    links: Vec<Link>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Plain,
    /// A bar from min to max.
    Bar(f64, f64),
    Tinted,
}

impl Column {
    /// A column of a label.
    pub(super) fn label(label: &'static str, title: &'static str) -> Column {
        Column {
            label: Some(label),
            title,
            unit: Unit::Word,
            decimals: None,
            width: None,
            cell: Cell::Plain,
            steps: Vec::new(),
            mappings: Vec::new(),
            links: Vec::new(),
        }
    }

    /// A column of the value of the query with this title.
    pub(super) fn value(title: &'static str, unit: Unit) -> Column {
        Column { label: None, unit, ..Column::label("", title) }
    }

    pub(super) fn decimals(mut self, decimals: u32) -> Column {
        self.decimals = Some(decimals);
        self
    }

    pub(super) fn width(mut self, pixels: u32) -> Column {
        self.width = Some(pixels);
        self
    }

    pub(super) fn bar(mut self, min: f64, max: f64) -> Column {
        self.cell = Cell::Bar(min, max);
        self
    }

    /// Color the text by these steps.
    pub(super) fn steps(mut self, steps: &[(Option<f64>, Color)]) -> Column {
        if self.cell == Cell::Plain {
            self.cell = Cell::Tinted;
        }
        self.steps = steps.to_vec();
        self
    }

    pub(super) fn map(mut self, mappings: &[Mapping]) -> Column {
        self.mappings = mappings.to_vec();
        self
    }

    pub(super) fn link(mut self, title: &'static str, url: String) -> Column {
        self.links.push(Link { title, url });
        self
    }
}

impl Panel {
    fn new(kind: Kind, title: &'static str, width: u32, height: u32) -> Panel {
        Panel {
            kind,
            title,
            description: "",
            width,
            height,
            targets: Vec::new(),
            unit: Unit::Count,
            decimals: None,
            min: None,
            max: None,
            steps: Vec::new(),
            threshold_lines: false,
            mappings: Vec::new(),
            no_value: "no data",
            links: Vec::new(),
            overrides: Vec::new(),
            transformations: Vec::new(),
            options: Vec::new(),
            custom: Vec::new(),
            time_from: None,
            interval: None,
            columns: Vec::new(),
        }
    }

    pub(super) fn stat(title: &'static str, width: u32, height: u32) -> Panel {
        Panel::new(Kind::Stat, title, width, height)
    }

    pub(super) fn bars(title: &'static str, width: u32, height: u32) -> Panel {
        Panel::new(Kind::BarGauge, title, width, height)
    }

    pub(super) fn lines(title: &'static str, width: u32, height: u32) -> Panel {
        Panel::new(Kind::TimeSeries, title, width, height)
    }

    pub(super) fn states(title: &'static str, width: u32, height: u32) -> Panel {
        Panel::new(Kind::StateTimeline, title, width, height).unit(Unit::Word)
    }

    /// A table: each query yields one value column, rows are joined by their labels.
    pub(super) fn table(title: &'static str, width: u32, height: u32, columns: Vec<Column>) -> Panel {
        Panel { columns, ..Panel::new(Kind::Table, title, width, height) }
    }

    /// What the panel says, and how to read it.
    pub(super) fn about(mut self, description: &'static str) -> Panel {
        self.description = description;
        self
    }

    /// A query. In a table `legend` is the title of the column that its value fills; elsewhere the legend.
    pub(super) fn query(mut self, legend: &str, expr: String) -> Panel {
        let instant = !matches!(self.kind, Kind::TimeSeries | Kind::StateTimeline);
        self.targets.push(Target { legend: legend.to_owned(), expr, instant });
        self
    }

    pub(super) fn unit(mut self, unit: Unit) -> Panel {
        self.unit = unit;
        self
    }

    pub(super) fn decimals(mut self, decimals: u32) -> Panel {
        self.decimals = Some(decimals);
        self
    }

    pub(super) fn range(mut self, min: f64, max: f64) -> Panel {
        (self.min, self.max) = (Some(min), Some(max));
        self
    }

    pub(super) fn min(mut self, min: f64) -> Panel {
        self.min = Some(min);
        self
    }

    pub(super) fn steps(mut self, steps: &[(Option<f64>, Color)]) -> Panel {
        self.steps = steps.to_vec();
        self
    }

    /// The steps as lines in the graph.
    pub(super) fn step_lines(mut self) -> Panel {
        self.threshold_lines = true;
        self
    }

    pub(super) fn map(mut self, mappings: &[Mapping]) -> Panel {
        self.mappings = mappings.to_vec();
        self
    }

    pub(super) fn no_value(mut self, text: &'static str) -> Panel {
        self.no_value = text;
        self
    }

    pub(super) fn link(mut self, title: &'static str, url: String) -> Panel {
        self.links.push(Link { title, url });
        self
    }

    /// Always the last `span`, whatever the dashboard shows.
    pub(super) fn last(mut self, span: &'static str) -> Panel {
        self.time_from = Some(span);
        self
    }

    /// The smallest step of its queries.
    pub(super) fn at_least_every(mut self, span: &'static str) -> Panel {
        self.interval = Some(span);
        self
    }

    pub(super) fn option(mut self, name: &'static str, value: Value) -> Panel {
        self.options.push((name, value));
        self
    }

    pub(super) fn custom(mut self, name: &'static str, value: Value) -> Panel {
        self.custom.push((name, value));
        self
    }

    /// Areas on top of each other.
    pub(super) fn stacked(self) -> Panel {
        self.custom("stacking", json!({ "mode": "normal", "group": "A" })).custom("fillOpacity", json!(60)).custom("lineWidth", json!(0))
    }

    /// One bar for each step of time.
    pub(super) fn barred(self) -> Panel {
        self.custom("drawStyle", json!("bars"))
            .custom("fillOpacity", json!(80))
            .custom("lineWidth", json!(0))
            .custom("axisSoftMax", json!(1))
            .min(0.0)
            .decimals(0)
    }

    /// A broken line, for what is promised or said by somebody else.
    pub(super) fn dashed(self, name: &str, color: Color) -> Panel {
        let style = json!({ "fill": "dash", "dash": [8, 6] });
        self.with(name, &[("color", json!({ "mode": "fixed", "fixedColor": color.word() })), ("custom.lineStyle", style)])
    }

    /// The series called `name` gets this color.
    pub(super) fn colored(self, name: &str, color: Color) -> Panel {
        self.with(name, &[("color", json!({ "mode": "fixed", "fixedColor": color.word() }))])
    }

    /// The series called `name` is colored by these steps.
    pub(super) fn stepped(self, name: &str, steps: &[(Option<f64>, Color)]) -> Panel {
        self.with(name, &[("thresholds", thresholds(steps)), ("color", json!({ "mode": "thresholds" }))])
    }

    /// The series called `name` has this unit.
    pub(super) fn measured(self, name: &str, unit: Unit, decimals: u32) -> Panel {
        self.with(name, &[("unit", json!(unit.word())), ("decimals", json!(decimals))])
    }

    /// The series called `name` has these properties.
    pub(super) fn with(mut self, name: &str, properties: &[(&str, Value)]) -> Panel {
        let properties: Vec<Value> = properties.iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
        self.overrides.push(json!({ "matcher": { "id": "byName", "options": name }, "properties": properties }));
        self
    }

    /// A thin line between `lower` and `upper`, the area between them filled.
    pub(super) fn band(self, lower: &str, upper: &str) -> Panel {
        let thin = [("custom.lineWidth", json!(0)), ("color", json!({ "mode": "fixed", "fixedColor": Color::Unknown.word() }))];
        self.with(lower, &thin)
            .with(upper, &[&thin[..], &[("custom.fillBelowTo", json!(lower)), ("custom.fillOpacity", json!(25))]].concat())
    }

    fn json(&self, id: u32, x: u32, y: u32) -> Value {
        let refs = |i: usize| char::from(b'A' + u8::try_from(i).unwrap_or(25)).to_string();
        let targets: Vec<Value> = self
            .targets
            .iter()
            .enumerate()
            .map(|(i, t)| {
                json!({
                    "datasource": datasource(), "editorMode": "code", "expr": t.expr, "refId": refs(i),
                    "instant": t.instant, "range": !t.instant,
                    "format": if self.kind == Kind::Table { "table" } else { "time_series" },
                    "legendFormat": if self.kind == Kind::Table { "__auto" } else { t.legend.as_str() },
                })
            })
            .collect();
        let mut defaults = json!({
            "color": { "mode": if self.steps.is_empty() { "palette-classic" } else { "thresholds" } },
            "custom": self.custom_json(), "links": links(&self.links), "mappings": mappings(&self.mappings),
            "noValue": self.no_value, "thresholds": thresholds(&self.steps), "unit": self.unit.word(),
        });
        if self.kind == Kind::Stat && self.steps.is_empty() {
            defaults["color"] = json!({ "mode": "fixed", "fixedColor": Color::Plain.word() });
        }
        if self.threshold_lines {
            defaults["color"] = json!({ "mode": "palette-classic" });
        }
        for (name, value) in [("min", self.min), ("max", self.max)] {
            if let Some(value) = value {
                defaults[name] = json!(value);
            }
        }
        if let Some(decimals) = self.decimals {
            defaults["decimals"] = json!(decimals);
        }
        let (mut overrides, mut transformations) = (self.overrides.clone(), self.transformations.clone());
        if self.kind == Kind::Table {
            overrides.extend(self.columns.iter().map(Column::json));
            transformations.extend(self.join(refs));
        }
        let mut panel = json!({
            "id": id, "type": self.kind.word(), "title": self.title, "description": self.description,
            "datasource": datasource(), "targets": targets,
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "fieldConfig": { "defaults": defaults, "overrides": overrides },
            "options": self.options_json(), "transformations": transformations,
        });
        if let Some(span) = self.time_from {
            panel["timeFrom"] = json!(span);
        }
        if let Some(interval) = self.interval {
            panel["interval"] = json!(interval);
        }
        panel
    }

    /// One table out of one frame for each query, columns in order and under their titles.
    fn join(&self, refs: impl Fn(usize) -> String) -> Vec<Value> {
        let value_name = |title: &str| {
            let i = self.targets.iter().position(|t| t.legend == title).unwrap_or_default();
            if self.targets.len() == 1 { "Value".to_owned() } else { format!("Value #{}", refs(i)) }
        };
        let (mut order, mut names) = (Map::new(), Map::new());
        for (i, column) in self.columns.iter().enumerate() {
            let name = column.label.map_or_else(|| value_name(column.title), str::to_owned);
            order.insert(name.clone(), json!(i));
            names.insert(name, json!(column.title));
        }
        // If only one of several queries has data, Grafana does not number its value.
        if let Some(first) = self.columns.iter().find(|c| c.label.is_none()) {
            names.insert("Value".to_owned(), json!(first.title));
        }
        // A value that no column asks for only brings labels.
        let mut hidden = json!({ "Time": true });
        for t in &self.targets {
            if !self.columns.iter().any(|c| c.label.is_none() && c.title == t.legend) {
                hidden[value_name(&t.legend)] = json!(true);
            }
        }
        let mut out = Vec::new();
        if self.targets.len() > 1 {
            out.push(json!({ "id": "merge", "options": {} }));
        }
        out.push(json!({ "id": "organize", "options": { "excludeByName": hidden, "includeByName": {}, "indexByName": order, "renameByName": names } }));
        out
    }

    fn custom_json(&self) -> Value {
        let mut custom = match self.kind {
            Kind::Stat | Kind::BarGauge => json!({}),
            Kind::TimeSeries => json!({
                "axisBorderShow": false, "axisCenteredZero": false, "axisColorMode": "text", "axisLabel": "", "axisPlacement": "auto",
                "barAlignment": 0, "drawStyle": "line", "fillOpacity": 0, "gradientMode": "none",
                "hideFrom": { "legend": false, "tooltip": false, "viz": false }, "insertNulls": false, "lineInterpolation": "stepAfter",
                "lineWidth": 2, "pointSize": 5, "scaleDistribution": { "type": "linear" }, "showPoints": "never", "spanNulls": false,
                "stacking": { "group": "A", "mode": "none" },
                "thresholdsStyle": { "mode": if self.threshold_lines { "dashed" } else { "off" } },
            }),
            Kind::StateTimeline => json!({
                "fillOpacity": 80, "lineWidth": 0, "insertNulls": false, "spanNulls": false,
                "hideFrom": { "legend": false, "tooltip": false, "viz": false },
            }),
            Kind::Table => json!({ "align": "auto", "cellOptions": { "type": "auto" }, "inspect": false, "filterable": true }),
        };
        for (name, value) in &self.custom {
            custom[*name] = value.clone();
        }
        custom
    }

    fn options_json(&self) -> Value {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        let mut options = match self.kind {
            Kind::Stat => json!({
                "colorMode": "value", "graphMode": "none", "justifyMode": "center", "orientation": "auto", "percentChangeColorMode": "standard",
                "reduceOptions": reduce, "showPercentChange": false, "wideLayout": true,
                "textMode": if self.targets.len() > 1 || self.targets.iter().any(|t| t.legend.contains("{{")) { "value_and_name" } else { "value" },
            }),
            Kind::BarGauge => json!({
                "displayMode": "basic", "minVizHeight": 16, "minVizWidth": 8, "namePlacement": "left", "orientation": "horizontal",
                "reduceOptions": reduce, "showUnfilled": true, "sizing": "auto", "valueMode": "color",
            }),
            Kind::TimeSeries => json!({
                "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "hideZeros": false, "mode": "multi", "sort": "desc" },
            }),
            Kind::StateTimeline => json!({
                "alignValue": "left", "mergeValues": true, "perPage": 20, "rowHeight": 0.85, "showValue": "auto",
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Kind::Table => {
                json!({ "cellHeight": "sm", "footer": { "countRows": false, "fields": "", "reducer": ["sum"], "show": false }, "showHeader": true })
            }
        };
        for (name, value) in &self.options {
            options[*name] = value.clone();
        }
        options
    }
}

impl Column {
    fn json(&self) -> Value {
        let mut properties = Vec::new();
        let mut add = |id: &str, value: Value| properties.push(json!({ "id": id, "value": value }));
        add("unit", json!(self.unit.word()));
        if let Some(decimals) = self.decimals {
            add("decimals", json!(decimals));
        }
        if let Some(width) = self.width {
            add("custom.width", json!(width));
        }
        match self.cell {
            Cell::Plain => {}
            Cell::Bar(min, max) => {
                add("custom.cellOptions", json!({ "type": "gauge", "mode": "basic", "valueDisplayMode": "text" }));
                add("min", json!(min));
                add("max", json!(max));
            }
            Cell::Tinted => add("custom.cellOptions", json!({ "type": "color-text" })),
        }
        if self.steps.is_empty() {
            add("color", json!({ "mode": "fixed", "fixedColor": Color::Plain.word() }));
        } else {
            add("thresholds", thresholds(&self.steps));
            add("color", json!({ "mode": "thresholds" }));
        }
        if !self.mappings.is_empty() {
            add("mappings", json!(mappings(&self.mappings)));
        }
        if !self.links.is_empty() {
            add("links", json!(links(&self.links)));
        }
        json!({ "matcher": { "id": "byName", "options": self.title }, "properties": properties })
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn links(links: &[Link]) -> Vec<Value> {
    links.iter().map(|l| json!({ "title": l.title, "url": l.url, "targetBlank": !l.url.starts_with("/d/") })).collect()
}

fn thresholds(steps: &[(Option<f64>, Color)]) -> Value {
    let steps: Vec<Value> = match steps {
        [] => vec![json!({ "value": null, "color": Color::Plain.word() })],
        steps => steps.iter().map(|(from, color)| json!({ "value": from, "color": color.word() })).collect(),
    };
    json!({ "mode": "absolute", "steps": steps })
}

fn mappings(all: &[Mapping]) -> Vec<Value> {
    let result = |index: usize, text: &str, color: Color| json!({ "index": index, "text": text, "color": color.word() });
    all.iter()
        .enumerate()
        .map(|(i, mapping)| match mapping {
            Mapping::Is(value, text, color) => {
                let mut options = Map::new();
                options.insert(value.to_string(), result(i, text, *color));
                json!({ "type": "value", "options": options })
            }
            Mapping::From(from, text, color) => {
                json!({ "type": "range", "options": { "from": from, "to": null, "result": result(i, text, *color) } })
            }
            Mapping::To(to, text, color) => {
                json!({ "type": "range", "options": { "from": null, "to": to, "result": result(i, text, *color) } })
            }
        })
        .collect()
}

impl Variable {
    fn json(&self) -> Value {
        match &self.kind {
            VariableKind::Datasource => json!({
                "type": "datasource", "name": self.name, "label": self.label, "query": "prometheus", "regex": "", "refresh": 1,
                "hide": 0, "includeAll": false, "multi": false, "options": [], "current": {}, "skipUrlSync": false,
            }),
            VariableKind::Constant(value) => json!({
                "type": "constant", "name": self.name, "label": self.label, "query": value, "hide": 2, "skipUrlSync": true,
                "current": { "selected": true, "text": value, "value": value },
                "options": [{ "selected": true, "text": value, "value": value }],
            }),
            VariableKind::Values { expr, label, many, all_is_any } => {
                let query = format!("query_result({expr})");
                let mut out = json!({
                    "type": "query", "name": self.name, "label": self.label, "datasource": datasource(),
                    "definition": query, "query": { "qryType": 3, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
                    "regex": format!("/{label}=\"([^\"]*)\"/"), "refresh": 2, "sort": 1, "hide": 0, "multi": many, "includeAll": many,
                    "options": [], "skipUrlSync": false,
                    "current": if *many { json!({ "selected": true, "text": ["All"], "value": ["$__all"] }) } else { json!({}) },
                });
                if *all_is_any {
                    out["allValue"] = json!(".*");
                }
                out
            }
        }
    }
}

impl Annotation {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "enable": true, "hide": false, "iconColor": self.color, "datasource": datasource(), "expr": self.expr,
            "titleFormat": self.title, "textFormat": self.text, "tagKeys": "", "useValueForTime": false,
        })
    }
}

impl Dashboard {
    /// Its uid.
    pub(super) fn uid(&self) -> String {
        uid(self.name)
    }

    /// The classic JSON model.
    pub(super) fn json(&self) -> Value {
        let (mut id, mut y) = (1, 0);
        let mut panels = Vec::new();
        for row in &self.rows {
            if !row.title.is_empty() {
                panels.push(json!({
                    "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                    "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
                }));
                (id, y) = (id + 1, y + 1);
            }
            // How far down each column is taken: a panel goes where it comes to stand highest, then leftmost.
            let mut taken = [y; COLUMNS as usize];
            for panel in &row.panels {
                let width = panel.width.min(COLUMNS);
                let floor = |x: u32| taken.iter().skip(x as usize).take(width as usize).copied().max().unwrap_or(y);
                let x = (0..=COLUMNS - width).min_by_key(|x| (floor(*x), *x)).unwrap_or(0);
                let top = floor(x);
                panels.push(panel.json(id, x, top));
                taken.iter_mut().skip(x as usize).take(width as usize).for_each(|t| *t = top + panel.height);
                id += 1;
            }
            y = taken.into_iter().max().unwrap_or(y);
        }
        let mut annotations = vec![json!({
            "builtIn": 1, "type": "dashboard", "name": "Annotations & Alerts", "enable": true, "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)", "datasource": { "type": "grafana", "uid": "-- Grafana --" },
        })];
        annotations.extend(self.annotations.iter().map(Annotation::json));
        let mut links = vec![json!({
            "type": "dashboards", "title": "bornright", "tags": ["bornright"], "asDropdown": true, "includeVars": false, "keepTime": true,
            "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
        })];
        links.extend(self.links.iter().map(|l| {
            json!({
                "type": "link", "title": l.title, "url": l.url, "tags": [], "asDropdown": false, "includeVars": false, "keepTime": false,
                "targetBlank": true, "icon": "external link", "tooltip": "",
            })
        }));
        json!({
            "uid": self.uid(), "title": self.title, "id": null, "version": 1, "schemaVersion": 39,
            "description": self.description,
            "tags": ["bornright", "compliance"], "editable": true, "graphTooltip": 1, "fiscalYearStartMonth": 0, "weekStart": "",
            "timezone": "browser", "refresh": self.refresh, "time": { "from": self.from, "to": "now" }, "timepicker": {},
            "annotations": { "list": annotations }, "links": links, "panels": panels,
            "templating": { "list": self.variables.iter().map(Variable::json).collect::<Vec<_>>() },
        })
    }
}
