"""Runs in OpenVINO's environment: answers the requests on stdin, a JSON object per line.

    .venv-openvino/bin/python openvino_vlm.py MODEL_FOLDER < requests.jsonl > answers.jsonl

A request holds `messages`, `tools`, `picture` (path of a PNG, or null) and `max_tokens`; an answer `text`,
`token_ids`, `sum_logprob` (natural log, of the whole answer) and `prompt_tokens`.
"""

import json
import sys

import numpy as np
import openvino
import openvino_genai as genai
from PIL import Image


class Ids(genai.StreamerBase):
    """Keeps the ids of the tokens, which the result of a VLMPipeline does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[int] = []

    def write(self, token: int | list[int]) -> genai.StreamingStatus:
        self.said += token if isinstance(token, list) else [token]
        return genai.StreamingStatus.RUNNING

    def end(self) -> None: ...


def main() -> None:
    # Without the hint OpenVINO computes in bfloat16 on processors that can.
    pipeline = genai.VLMPipeline(sys.argv[1], "CPU", INFERENCE_PRECISION_HINT="f32")
    for line in sys.stdin:
        request, ids = json.loads(line), Ids()
        config = pipeline.get_generation_config()
        config.max_new_tokens, config.do_sample, config.logprobs = request["max_tokens"], False, 1
        history = genai.ChatHistory(request["messages"])
        if request["tools"]:
            history.set_tools(request["tools"])
        pictures = []
        if request["picture"]:
            with Image.open(request["picture"]) as picture:
                pictures = [openvino.Tensor(np.array(picture.convert("RGB")))]
        result = pipeline.generate(history, images=pictures, generation_config=config, streamer=ids)
        answer = {
            "text": result.texts[0],
            "token_ids": ids.said,
            "sum_logprob": result.scores[0],
            "prompt_tokens": result.perf_metrics.get_num_input_tokens(),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
