"""Images (or sentences) a second of PyTorch's own models: eager, eval mode, no_grad, one thread. Driven by `examples/speed.rs`.

Reads lines `MODEL BATCH` and answers each with the processor seconds of one forward pass.
"""

import sys
import time

import torch
import torchvision
import transformers

torch.set_num_threads(1)
models = {}
with torch.no_grad():
    for line in sys.stdin:
        name, batch = line.split()
        batch = int(batch)
        if name not in models:
            if name == "minilm":
                sizes = dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
                models[name] = transformers.BertModel(transformers.BertConfig(**sizes)).eval()
            else:
                models[name] = getattr(torchvision.models, name)().eval()
        if name == "minilm":
            ids = torch.randint(0, 30000, (batch, 32))
            inputs = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
        else:
            inputs = dict(x=torch.randn(batch, 3, 224, 224))
        start = time.process_time()
        models[name](**inputs)
        print(time.process_time() - start, flush=True)
