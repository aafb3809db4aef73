"""Reference values of networks of texts: states, logits, and gradients above a cut. `parity.py` takes its configurations from here."""

import torch
import transformers
from formula import filled, mean, names_and_shapes, numbers, objective, summary, tokens

BERTS = {
    "small": dict(vocab_size=200, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=160, max_position_embeddings=40, type_vocab_size=2, layer_norm_eps=1e-5),
    "minilm": dict(vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12),
}


def berts():
    out = {}
    for name, sizes in BERTS.items():
        model = filled(transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=5, **sizes)))
        lengths = [17, 5, 1, 11]
        ids, mask = tokens(sizes["vocab_size"], lengths)
        with torch.no_grad():
            states = model.bert(ids, attention_mask=mask).last_hidden_state
            case = {
                "config": dict(model_type="bert", hidden_act="gelu", **sizes),
                "lengths": lengths,
                "tensors": names_and_shapes(model),
                "mean": numbers(mean(states, mask)),
                "cls": numbers(states[:, 0]),
                "logits": numbers(model.classifier(mean(states, mask))),
            }
        if name == "small":
            for parameter_name, parameter in model.named_parameters():
                trained = ("bert.encoder.layer.2.", "classifier.")
                parameter.requires_grad_(parameter_name.startswith(trained))
            states = model.bert(ids, attention_mask=mask).last_hidden_state
            objective(model.classifier(mean(states, mask))).backward()
            case["gradients"] = summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad)
        out[name] = case
    return out


GPT2 = dict(vocab_size=200, n_positions=40, n_embd=64, n_layer=3, n_head=4, n_inner=160, layer_norm_epsilon=1e-5)


def gpt2():
    """Logits, and the first values of every stage: right padding, as `tokens` makes it, is seen by nobody before it."""
    config = transformers.GPT2Config(num_labels=5, pad_token_id=None, **GPT2)
    model = filled(transformers.GPT2ForSequenceClassification(config))
    lengths = [17, 5, 1, 11]
    ids, mask = tokens(GPT2["vocab_size"], lengths)
    stages = {}
    modules = {"embeddings": model.transformer.drop, "norm": model.transformer.ln_f}
    modules |= {f"layer.{n}": layer for n, layer in enumerate(model.transformer.h)}
    first = lambda output: (output[0] if isinstance(output, tuple) else output)[:, 0, :]
    for stage, module in modules.items():
        module.register_forward_hook(lambda _, __, output, stage=stage: stages.update({stage: numbers(first(output))}))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("transformer.h.2.", "transformer.ln_f.", "score.")))
    states = model.transformer(ids, attention_mask=mask).last_hidden_state
    last = states[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    loss = objective(model.score(last))
    loss.backward()
    return {
        "config": dict(model_type="gpt2", activation_function="gelu_new", **GPT2),
        "lengths": lengths,
        "tensors": names_and_shapes(model),
        "stages": stages,
        "last": numbers(last),
        "mean": numbers(mean(states, mask)),
        "logits": numbers(model.score(last)),
        "loss": loss.item(),
        "gradients": summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad),
    }


DECODER = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=200, max_position_embeddings=40, rms_norm_eps=1e-5)
# The three say their positions in the words of Llama 3, of transformers 4.42 and before, and of transformers 5.
DECODERS = {
    "llama": dict(model_type="llama", rope_theta=500.0, rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16), **DECODER),
    "llama_with_biases": dict(model_type="llama", attention_bias=True, mlp_bias=True, rope_theta=10000.0, rope_scaling=dict(type="linear", factor=2.0), **DECODER),
    "qwen2": dict(model_type="qwen2", use_sliding_window=False, sliding_window=40, **DECODER),
    "qwen3": dict(model_type="qwen3", head_dim=32, rope_parameters=dict(rope_theta=1000000.0, rope_type="default"), **DECODER),
}


def decoder(name):
    return transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(num_labels=5, pad_token_id=None, **DECODERS[name]))


def decoders():
    """Logits, and the gradients above the second layer."""
    out = {}
    for name, config in DECODERS.items():
        model = filled(decoder(name))
        lengths = [17, 5, 1, 11]
        ids, mask = tokens(config["vocab_size"], lengths)
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter_name.startswith(("model.layers.2.", "model.norm.", "score.")))
        states = model.model(ids, attention_mask=mask).last_hidden_state
        logits = model.score(states[torch.arange(len(lengths)), torch.tensor(lengths) - 1])
        loss = objective(logits)
        loss.backward()
        gradients = summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad)
        out[name] = {"config": config, "lengths": lengths, "logits": numbers(logits), "loss": loss.item(), "gradients": gradients}
    return out


# Windows of five tokens, in the layers 1 and 2.
MODERNBERT = dict(model_type="modernbert", vocab_size=200, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=40, norm_eps=1e-5, classifier_pooling="mean", global_attn_every_n_layers=3, local_attention=4, global_rope_theta=160000.0, local_rope_theta=10000.0, pad_token_id=199)


def modernbert():
    return transformers.ModernBertForSequenceClassification(transformers.ModernBertConfig(num_labels=5, **MODERNBERT))


SENTENCES = [
    "The glacier has been losing its snow for years.",
    "Snow has vanished from the glacier over the last decade.",
    "This restaurant serves the best noodles in town.",
]


@torch.no_grad()
def sentences(folder):
    """Mean-pooled states of a real sentence encoder; tokens are committed beside them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    states = model(**batch).last_hidden_state
    return {"ids": batch["input_ids"].tolist(), "mask": batch["attention_mask"].tolist(), "mean": numbers(mean(states, batch["attention_mask"]))}
