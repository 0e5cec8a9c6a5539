using System.Buffers.Binary;

namespace Mesh.Hbone.Http2;

/// <summary>The settings that endpoints announce (RFC 9113, section 6.5.2).</summary>
internal enum Http2Setting : ushort
{
    HeaderTableSize = 0x1,
    EnablePush = 0x2,
    MaxConcurrentStreams = 0x3,
    InitialWindowSize = 0x4,
    MaxFrameSize = 0x5,
    MaxHeaderListSize = 0x6,
}

/// <summary>What the peer has announced. Begins with the protocol's defaults.</summary>
internal sealed class PeerSettings
{
    public const int SettingSize = 6;

    // Since it was last taken: in between, the table was that small.
    private uint _smallestHeaderTableSize = uint.MaxValue;

    public uint HeaderTableSize { get; private set; } = 4096;

    public uint MaxConcurrentStreams { get; private set; } = uint.MaxValue;

    public int InitialWindowSize { get; private set; } = FlowWindow.Default;

    public int MaxFrameSize { get; private set; } = FrameHeader.DefaultMaxLength;

    /// <summary>The smallest table size since the last call, and the newest; null when there was no change.</summary>
    public (uint Smallest, uint Newest)? TakeHeaderTableSizes()
    {
        if (_smallestHeaderTableSize == uint.MaxValue)
        {
            return null;
        }

        var sizes = (_smallestHeaderTableSize, HeaderTableSize);
        _smallestHeaderTableSize = uint.MaxValue;
        return sizes;
    }

    /// <summary>Takes a payload of SETTINGS; the answer is the error that it deserves, if any.</summary>
    /// <param name="payload">The payload.</param>
    /// <param name="fromServer">Whether a server sent it: one does not enable push.</param>
    public Http2ErrorCode? Apply(ReadOnlySpan<byte> payload, bool fromServer)
    {
        if (payload.Length % SettingSize != 0)
        {
            return Http2ErrorCode.FrameSizeError;
        }

        for (; !payload.IsEmpty; payload = payload[SettingSize..])
        {
            var value = BinaryPrimitives.ReadUInt32BigEndian(payload[2..]);
            switch ((Http2Setting)BinaryPrimitives.ReadUInt16BigEndian(payload))
            {
                case Http2Setting.HeaderTableSize:
                    HeaderTableSize = value;
                    _smallestHeaderTableSize = Math.Min(_smallestHeaderTableSize, value);
                    break;
                case Http2Setting.EnablePush when value > (fromServer ? 0 : 1):
                    return Http2ErrorCode.ProtocolError;
                case Http2Setting.MaxConcurrentStreams:
                    MaxConcurrentStreams = value;
                    break;
                case Http2Setting.InitialWindowSize when value > FlowWindow.Max:
                    return Http2ErrorCode.FlowControlError;
                case Http2Setting.InitialWindowSize:
                    InitialWindowSize = (int)value;
                    break;
                case Http2Setting.MaxFrameSize when value is < FrameHeader.DefaultMaxLength or > FrameHeader.LargestMaxLength:
                    return Http2ErrorCode.ProtocolError;
                case Http2Setting.MaxFrameSize:
                    MaxFrameSize = (int)value;
                    break;
                default:
                    // Unknown settings are ignored (RFC 9113, section 6.5.2).
                    break;
            }
        }

        return null;
    }
}
