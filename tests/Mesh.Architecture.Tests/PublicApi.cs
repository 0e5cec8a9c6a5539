using System.Globalization;
using System.Reflection;
using System.Text;

namespace Mesh.Architecture;

/// <summary>The public surface of an assembly as text: one line for each type and each member, sorted.</summary>
internal static class PublicApi
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    public static string Describe(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (var type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            text.Append(Kind(type)).Append(' ').Append(Name(type)).AppendLine(Bases(type));
            foreach (var member in type.GetMembers(Declared).Select(Member).OfType<string>().Distinct().Order(StringComparer.Ordinal))
            {
                text.Append("    ").AppendLine(member);
            }
        }

        return text.ToString();
    }

    private static string? Member(MemberInfo member) => member switch
    {
        // What the compiler makes of a record is the same for every record.
        { Name: "EqualityContract" or "PrintMembers" or "<Clone>$" or "op_Equality" or "op_Inequality" } => null,
        FieldInfo field when IsVisible(field) && !field.IsSpecialName => field is { IsLiteral: true }
            ? $"{Name(field.FieldType)} {field.Name} = {Convert.ToString(field.GetRawConstantValue(), CultureInfo.InvariantCulture)}"
            : $"{(field.IsStatic ? "static " : "")}{Name(field.FieldType)} {field.Name}",
        ConstructorInfo constructor when IsVisible(constructor) => $"new({Parameters(constructor)})",
        PropertyInfo property => Property(property),
        EventInfo { AddMethod: { } add } @event when IsVisible(add) => $"event {Name(@event.EventHandlerType!)} {@event.Name}",
        MethodInfo method when IsVisible(method) && !method.IsSpecialName => $"{Modifiers(method)}{Name(method.ReturnType)} {method.Name}({Parameters(method)})",
        _ => null,
    };

    private static string? Property(PropertyInfo property)
    {
        var get = property.GetMethod is { } getter && IsVisible(getter) ? " get;" : "";
        var set = property.SetMethod is { } setter && IsVisible(setter)
            ? setter.ReturnParameter.GetRequiredCustomModifiers().Any(modifier => modifier.Name == "IsExternalInit") ? " init;" : " set;"
            : "";
        var accessor = property.GetMethod ?? property.SetMethod!;
        return get + set == "" ? null : $"{Modifiers(accessor)}{Name(property.PropertyType)} {property.Name} {{{get}{set} }}";
    }

    private static bool IsVisible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static bool IsVisible(FieldInfo field) => field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly;

    private static string Modifiers(MethodInfo method) =>
        method.IsStatic ? "static " : method.DeclaringType!.IsInterface ? "" : method.IsAbstract ? "abstract " : method.GetBaseDefinition() != method ? "override " : "";

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(parameter =>
        $"{(parameter.IsOut ? "out " : parameter.ParameterType.IsByRef ? "in " : "")}{Name(parameter.ParameterType)} {parameter.Name}{(parameter.HasDefaultValue ? " = default" : "")}"));

    private static string Kind(Type type) =>
        type.IsEnum ? "enum" : type.IsInterface ? "interface" : type.IsValueType ? "struct"
        : type is { IsAbstract: true, IsSealed: true } ? "static class" : type.IsAbstract ? "abstract class" : type.IsSealed ? "sealed class" : "class";

    private static string Bases(Type type)
    {
        var bases = new[] { type.BaseType }.OfType<Type>().Where(parent => parent != typeof(object) && parent != typeof(ValueType) && parent != typeof(Enum)).ToList();
        return bases.Count == 0 ? "" : $" : {string.Join(", ", bases.Select(Name))}";
    }

    private static string Name(Type type)
    {
        if (type.IsByRef || type.IsArray)
        {
            return Name(type.GetElementType()!) + (type.IsArray ? "[]" : "");
        }

        if (type.IsGenericParameter)
        {
            return type.Name;
        }

        var own = type.Name.Split('`')[0];
        var arguments = type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(Name))}>" : "";
        return type.IsNested ? $"{Name(type.DeclaringType!)}.{own}{arguments}" : type.Namespace?.StartsWith("Mesh", StringComparison.Ordinal) is true ? $"{type.Namespace}.{own}{arguments}" : own + arguments;
    }
}
