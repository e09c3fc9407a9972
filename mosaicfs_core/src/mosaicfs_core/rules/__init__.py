"""Rules: filter steps, globs and effective labels. Pure: no input, no output, no clock."""

from mosaicfs_core.rules.annotations import annotation_data, annotation_test
from mosaicfs_core.rules.chains import (
    STEP_FIELDS,
    Chain,
    Chains,
    PluginOp,
    StepVerdict,
    StepWarning,
    chain_key,
    check_steps,
    compile_chain,
    labels_named,
    outcomes,
    plugins_named,
)
from mosaicfs_core.rules.facts import FactsLookup, FileFacts, NoLookup
from mosaicfs_core.rules.glob import Glob, compile_glob, has_wildcards, name_matcher
from mosaicfs_core.rules.labels import EffectiveLabels, LabelRules, rule_covers
from mosaicfs_core.rules.ops import CORE_OPS, CoreOp
from mosaicfs_core.rules.regex import compile_regex
from mosaicfs_core.rules.sql import SqlFilter

__all__ = [
    "CORE_OPS",
    "STEP_FIELDS",
    "Chain",
    "Chains",
    "CoreOp",
    "EffectiveLabels",
    "FactsLookup",
    "FileFacts",
    "Glob",
    "LabelRules",
    "NoLookup",
    "PluginOp",
    "SqlFilter",
    "StepVerdict",
    "StepWarning",
    "annotation_data",
    "annotation_test",
    "chain_key",
    "check_steps",
    "compile_chain",
    "compile_glob",
    "compile_regex",
    "has_wildcards",
    "labels_named",
    "name_matcher",
    "outcomes",
    "plugins_named",
    "rule_covers",
]
