"""How each library builds the networks that its name for them does not say: sizes by Firn's words, and timm's words for them."""

import timm
import torchvision
import transformers

# Patch, width, layers, heads.
VITS = {
    "vit_b_16": (16, 768, 12, 12),
    "vit_b_32": (32, 768, 12, 12),
    "vit_l_16": (16, 1024, 24, 16),
    "vit_l_32": (32, 1024, 24, 16),
    "vit_h_14": (14, 1280, 32, 16),
    "deit_tiny_patch16_224": (16, 192, 12, 3),
    "deit_small_patch16_224": (16, 384, 12, 6),
    "deit_base_patch16_224": (16, 768, 12, 12),
}


def torchvision_vit(name, **options):
    """torchvision's network, also of the sizes that only other libraries have a name for."""
    if name.startswith("vit_"):
        return torchvision.models.get_model(name, **options)
    patch, width, layers, heads = VITS[name]
    return torchvision.models.VisionTransformer(224, patch, layers, heads, width, 4 * width, **options)


def transformers_vit(name, **options):
    patch, width, layers, heads = VITS[name]
    config = transformers.ViTConfig(patch_size=patch, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width, **options)
    return transformers.ViTForImageClassification(config)


TIMM_VITS = {f"vit_{size[0]}_{patch}": f"vit_{size}_patch{patch}_224" for size, patch in [("base", 16), ("base", 32), ("large", 16), ("large", 32), ("huge", 14)]}
TIMM_VITS |= {name: name for name in VITS if name.startswith("deit_")}

# Channels of the first group, blocks.
CONVNEXTS = {"convnext_tiny": (96, [3, 3, 9, 3]), "convnext_small": (96, [3, 3, 27, 3]), "convnext_base": (128, [3, 3, 27, 3]), "convnext_large": (192, [3, 3, 27, 3])}


def transformers_convnext(name):
    width, blocks = CONVNEXTS[name]
    return transformers.ConvNextForImageClassification(transformers.ConvNextConfig(hidden_sizes=[width << n for n in range(4)], depths=blocks))


# What a residual branch consists of, blocks of each group.
RESNETS = {"resnet18": ("basic", [2, 2, 2, 2]), "resnet34": ("basic", [3, 4, 6, 3]), "resnet50": ("bottleneck", [3, 4, 6, 3]), "resnet101": ("bottleneck", [3, 4, 23, 3]), "resnet152": ("bottleneck", [3, 8, 36, 3])}


def transformers_resnet(name):
    branch, blocks = RESNETS[name]
    widths = [(64 if branch == "basic" else 256) << n for n in range(4)]
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(embedding_size=64, hidden_sizes=widths, depths=blocks, layer_type=branch))


# Blocks of each group.
TIMM_MOBILENETS = {"mobilenet_v2": ("mobilenetv2_100", [1, 2, 3, 4, 3, 3, 1]), "mobilenet_v3_large": ("mobilenetv3_large_100", [1, 2, 3, 4, 2, 3]), "mobilenet_v3_small": ("mobilenetv3_small_100", [1, 2, 3, 2, 3])}


def timm_mobilenet(name, **options):
    return timm.create_model(TIMM_MOBILENETS[name][0], **options)


# Width, layers, heads.
DINOV2S = {"dinov2_vits14": (384, 12, 6), "dinov2_vitb14": (768, 12, 12), "dinov2_vitl14": (1024, 24, 16), "dinov2_vitg14": (1536, 40, 24)}
TIMM_DINOV2S = {f"dinov2_vit{name[0]}14": f"vit_{name}_patch14_dinov2" for name in ("small", "base", "large", "giant")}
TIMM_DINOV2S |= {f"dinov2_vit{name[0]}14_reg": f"vit_{name}_patch14_reg4_dinov2" for name in ("small", "base", "large", "giant")}


def transformers_dinov2(name, **options):
    width, layers, heads = DINOV2S[name.removesuffix("_reg")]
    sizes = dict(image_size=518, patch_size=14, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, use_swiglu_ffn=name.startswith("dinov2_vitg14"))
    if name.endswith("_reg"):
        return transformers.Dinov2WithRegistersForImageClassification(transformers.Dinov2WithRegistersConfig(**sizes, **options))
    return transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**sizes, **options))


# Channels of the first group, blocks, heads.
SWINS = {"swin_t": (96, [2, 2, 6, 2], [3, 6, 12, 24]), "swin_s": (96, [2, 2, 18, 2], [3, 6, 12, 24]), "swin_b": (128, [2, 2, 18, 2], [4, 8, 16, 32])}
TIMM_SWINS = {"swin_t": "swin_tiny_patch4_window7_224", "swin_s": "swin_small_patch4_window7_224", "swin_b": "swin_base_patch4_window7_224"}
TIMM_SWINS |= {"swin_v2_t": "swinv2_tiny_window8_256", "swin_v2_s": "swinv2_small_window8_256", "swin_v2_b": "swinv2_base_window8_256"}


def transformers_swin(name, **options):
    width, blocks, heads = SWINS[name.replace("_v2", "")]
    if "_v2_" in name:
        config = transformers.Swinv2Config(image_size=256, window_size=8, embed_dim=width, depths=blocks, num_heads=heads, **options)
        return transformers.Swinv2ForImageClassification(config)
    return transformers.SwinForImageClassification(transformers.SwinConfig(embed_dim=width, depths=blocks, num_heads=heads, **options))
