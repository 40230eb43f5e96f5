"""The bundled task `sums` for lighteval; its rows lie in the folder that it is started in (`harnesses.py`)."""

import re

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod


class LastAnswer(SampleLevelComputation):
    """The last `Answer: N` is the right number: what the task's own score reads."""

    def compute(self, doc, model_response, **_):
        said = re.findall(r"Answer:\s*(-?\d[\d,]*)", model_response.text[0])
        return float(said[-1:] == [doc.specific["right"]])


def asked(line, task_name):
    right = line["answer"].split("####")[-1].strip()
    return Doc(
        task_name=task_name,
        query=line["question"],
        choices=[line["completion"]],
        gold_index=0,
        specific={"right": right},
    )


METRIC = SampleLevelMetric(
    metric_name="last_answer",
    sample_level_fn=LastAnswer(),
    category=SamplingMethod.GENERATIVE,
    corpus_level_fn=np.mean,
    higher_is_better=True,
)

TASKS_TABLE = [
    LightevalTaskConfig(
        name="pixeltune_sums",
        prompt_function=asked,
        hf_repo="sums",
        hf_subset="default",
        hf_avail_splits=["train", "test"],
        evaluation_splits=["test"],
        few_shots_split="train",
        few_shots_select="sequential",
        generation_size=96,
        metrics=[METRIC],
    )
]
