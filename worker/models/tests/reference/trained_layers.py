"""Reference values of PEFT and transformers for what trains inside of networks: low-rank adapters, and units that are dropped.

    python worker/models/tests/reference/trained_layers.py  # writes lora.json and dropped.json in worker/models/tests/golden

Needs torch, transformers and peft, and what `formula.py` and `texts.py` beside it need.
"""

import json

import numpy as np
import peft
import torch
import transformers
from formula import GOLDEN, fill, filled, mean, names_and_shapes, numbers, objective, summary, tokens
from texts import GPT2


def mixed(value):
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)


def mask_of(shape, probability, layer, seed, epoch, samples):
    """Which units a layer drops of each sample: `layers/dropout.rs`. Attention weights are known by head, query and key."""
    name = 0xCBF29CE484222325
    for byte in layer.encode():
        name = ((name ^ byte) * 0x100000001B3) % 2**64
    if len(shape) == 4:
        heads, queries, keys = np.indices(shape[1:], dtype=np.uint64)
        places = (heads * np.uint64(2**24) + queries) * np.uint64(2**24) + keys
    else:
        places = np.arange(np.prod(shape[1:]), dtype=np.uint64).reshape(shape[1:])
    rows = []
    with np.errstate(over="ignore"):
        for sample in samples:
            key = mixed(np.uint64(seed))
            for part in (epoch, sample, name):
                key = mixed((key + GOLDEN_RATIO) ^ np.uint64(part))
            number = mixed(key + (places + np.uint64(1)) * GOLDEN_RATIO) >> np.uint64(32)
            rows.append(np.where(number < np.uint64(int(probability * 2**32)), 0.0, 1.0 / (1.0 - probability)))
    return torch.from_numpy(np.stack(rows).astype(np.float32))


DROPPED = {
    "bert": (
        transformers.BertForSequenceClassification,
        transformers.BertConfig(vocab_size=200, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96, max_position_embeddings=32, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3, num_labels=5),
        ["attention.self", "attention.output", "output"],
    ),
    "distilbert": (
        transformers.DistilBertForSequenceClassification,
        transformers.DistilBertConfig(vocab_size=200, dim=48, n_layers=3, n_heads=3, hidden_dim=96, max_position_embeddings=32, dropout=0.2, attention_dropout=0.3, num_labels=5),
        ["attention.self", "output"],
    ),
    "gpt2": (
        transformers.GPT2ForSequenceClassification,
        transformers.GPT2Config(num_labels=5, pad_token_id=None, attn_pdrop=0.3, resid_pdrop=0.2, **GPT2),
        ["attn", "attn.c_proj", "mlp"],
    ),
}


def dropped():
    """Encoders in whose layers 1 and 2 units are dropped by the masks of Firn, which a second implementation draws."""
    out, seed, epoch = {}, 3, 1
    lengths = [17, 5, 1, 11]
    samples = [12, 5, 7, 1000003]
    for name, (make, config, drops) in DROPPED.items():
        config._attn_implementation = "eager"
        model = filled(make(config)).eval()
        body = {"bert": lambda: model.bert, "distilbert": lambda: model.distilbert, "gpt2": lambda: model.transformer}[name]()
        layers = {"bert": lambda: body.encoder.layer, "distilbert": lambda: body.transformer.layer, "gpt2": lambda: body.h}[name]()
        prefix = "h" if name == "gpt2" else "encoder.layer"
        expected = [f"{prefix}.{layer}.{drop}" for layer in (1, 2) for drop in drops]
        for layer in layers[1:]:
            layer.train()
        head = model.score if name == "gpt2" else model.classifier
        for parameter in body.parameters():
            parameter.requires_grad_(False)
        last_norm = body.ln_f.parameters() if name == "gpt2" else []
        for parameter in [*layers[1].parameters(), *layers[2].parameters(), *last_norm, *head.parameters()]:
            parameter.requires_grad_(True)

        def masked(values, p=0.5, training=True, inplace=False):
            return values * mask_of(tuple(values.shape), p, expected.pop(0), seed, epoch, samples) if training and p > 0 else values

        ids, mask = tokens(200, lengths)
        plain, torch.nn.functional.dropout = torch.nn.functional.dropout, masked
        try:
            states = body(ids, attention_mask=mask).last_hidden_state
        finally:
            torch.nn.functional.dropout = plain
        assert not expected, expected
        pooled = states[torch.arange(len(lengths)), torch.tensor(lengths) - 1] if name == "gpt2" else mean(states, mask)
        outputs = head(pooled)
        objective(outputs).backward()
        named = ((n, p.grad) for n, p in model.named_parameters() if p.grad is not None)
        fields = config.to_dict()
        kept = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings", "hidden_dropout_prob", "attention_probs_dropout_prob", "dim", "n_layers", "n_heads", "hidden_dim", "dropout", "attention_dropout", "attn_pdrop", "resid_pdrop", *GPT2)
        out[name] = {
            "config": {key: fields[key] for key in kept if key in fields},
            "lengths": lengths, "samples": samples, "seed": seed, "epoch": epoch,
            "tensors": {key: shape for key, shape in names_and_shapes(model).items() if not key.startswith(("bert.pooler", "pre_classifier"))},
            "logits": numbers(outputs),
            "gradients": summary(named),
        }
    return out


LORA = dict(r=4, lora_alpha=6, target_modules=["c_attn", "mlp.c_proj"], layers_to_transform=[1, 2])


def lora():
    """PEFT's adapters in the same GPT-2, above its first layer: logits, gradients, and the weights once all is merged."""
    config = transformers.GPT2Config(num_labels=5, pad_token_id=None, **GPT2)
    base = filled(transformers.GPT2ForSequenceClassification(config))
    tensors = names_and_shapes(base)
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", fan_in_fan_out=True, **LORA)).eval()
    plain = lambda name: name.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "")
    trained = {plain(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(fill(name, parameter.shape))
    lengths = [17, 5, 1, 11]
    ids, mask = tokens(GPT2["vocab_size"], lengths)

    def logits():
        states = base.transformer(ids, attention_mask=mask).last_hidden_state
        return base.score(states[torch.arange(len(lengths)), torch.tensor(lengths) - 1])

    outputs = logits()
    objective(outputs).backward()
    case = {
        "config": dict(model_type="gpt2", activation_function="gelu_new", **GPT2),
        "lengths": lengths,
        "tensors": tensors,
        "logits": numbers(outputs),
        "gradients": summary((name, parameter.grad) for name, parameter in trained.items()),
    }
    merged = model.merge_and_unload().state_dict()
    case["merged"] = summary((name, merged[name]) for name in merged if name.endswith(("c_attn.weight", "mlp.c_proj.weight")))
    return case


def main():
    torch.set_num_threads(1)
    for name, value in {"lora": lora(), "dropped": dropped()}.items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
        print(name, "written")


if __name__ == "__main__":
    main()
