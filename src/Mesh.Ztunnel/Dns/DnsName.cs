using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace Mesh.Ztunnel.Dns;

/// <summary>A domain name (RFC 1035 section 3.1): labels with their lengths, the root's empty one last. Keeps its case of letters; equality ignores it.</summary>
internal sealed class DnsName : IEquatable<DnsName>
{
    /// <summary>Octets that a name may have, lengths and root included.</summary>
    public const int MaxLength = 255;

    /// <summary>Octets that a label may have.</summary>
    public const int MaxLabelLength = 63;

    /// <summary>Labels that fit into a name, the root's not counted.</summary>
    public const int MaxLabels = 127;

    /// <summary>The root.</summary>
    public static readonly DnsName Root = new([0]);

    private readonly byte[] _wire;

    private DnsName(byte[] wire) => _wire = wire;

    /// <summary>The octets, not compressed.</summary>
    public ReadOnlySpan<byte> Wire => _wire;

    /// <summary>Takes octets that a reader has checked.</summary>
    public static DnsName FromWire(ReadOnlySpan<byte> wire) => new(wire.ToArray());

    /// <summary>Reads a host name: labels of ASCII between dots, a dot at the end or none. Knows no escapes.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, [NotNullWhen(true)] out DnsName? name)
    {
        name = null;
        text = text is [.. var front, '.'] ? front : text;
        Span<byte> wire = stackalloc byte[MaxLength];
        var length = 0;
        foreach (var range in text.Split('.'))
        {
            var label = text[range];
            if (label.Length is 0 or > MaxLabelLength || length + 1 + label.Length + 1 > MaxLength || !Ascii.IsValid(label))
            {
                return false;
            }

            wire[length] = (byte)label.Length;
            length += 1 + Encoding.ASCII.GetBytes(label, wire[(length + 1)..]);
        }

        wire[length] = 0;
        name = FromWire(wire[..(length + 1)]);
        return true;
    }

    /// <summary>The name as a host name without a dot at the end; false when a label holds what no host name does, a dot for one.</summary>
    public bool TryGetHostname([NotNullWhen(true)] out string? hostname)
    {
        hostname = null;
        if (_wire.Length == 1)
        {
            return false;
        }

        Span<char> text = stackalloc char[MaxLength];
        var length = 0;
        for (var at = 0; _wire[at] != 0; at += 1 + _wire[at])
        {
            foreach (var octet in _wire.AsSpan(at + 1, _wire[at]))
            {
                if (octet is <= (byte)' ' or >= 0x7F or (byte)'.' or (byte)'\\')
                {
                    return false;
                }

                text[length++] = (char)octet;
            }

            text[length++] = '.';
        }

        hostname = new string(text[..(length - 1)]);
        return true;
    }

    // Lengths are folded with the letters: none reaches 'A'.
    public bool Equals(DnsName? other)
    {
        if (other is null || other._wire.Length != _wire.Length)
        {
            return false;
        }

        for (var at = 0; at < _wire.Length; at++)
        {
            if (Fold(_wire[at]) != Fold(other._wire[at]))
            {
                return false;
            }
        }

        return true;
    }

    public override bool Equals(object? obj) => Equals(obj as DnsName);

    public override int GetHashCode()
    {
        var hash = default(HashCode);
        foreach (var octet in _wire)
        {
            hash.Add(Fold(octet));
        }

        return hash.ToHashCode();
    }

    /// <summary>As it is written (RFC 1035 section 5.1), without the dot at the end; <c>.</c> for the root.</summary>
    public override string ToString()
    {
        if (_wire.Length == 1)
        {
            return ".";
        }

        var text = new StringBuilder(_wire.Length);
        for (var at = 0; _wire[at] != 0; at += 1 + _wire[at])
        {
            _ = at == 0 ? text : text.Append('.');
            foreach (var octet in _wire.AsSpan(at + 1, _wire[at]))
            {
                _ = octet switch
                {
                    (byte)'.' or (byte)'\\' => text.Append('\\').Append((char)octet),
                    <= (byte)' ' or >= 0x7F => text.Append(CultureInfo.InvariantCulture, $"\\{octet:D3}"),
                    _ => text.Append((char)octet),
                };
            }
        }

        return text.ToString();
    }

    private static byte Fold(byte octet) => octet is >= (byte)'A' and <= (byte)'Z' ? (byte)(octet | 0x20) : octet;
}
